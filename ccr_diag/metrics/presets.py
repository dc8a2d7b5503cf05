"""Presets: which of several published definitions the calibration errors follow."""

from dataclasses import dataclass
from typing import Literal

from ccr_diag.errors import BadConfig, nearest


@dataclass(frozen=True)
class Preset:
    """The definitions that a name stands for.

    Args:
        n_bins: bins of equal width or mass.
        equal_mass: how equal-mass bins are cut, a key of ``equal_mass.METHODS``.
        proximity: variant of ``proximity.proximity`` for PIECE.
        neighbours: K of the proximity.
        columns: metric → its title in tables.
        scale: what table entries are multiplied by.
        says: the choice in words.
    """

    n_bins: int
    equal_mass: Literal["ranks", "linear", "averaged_inverted_cdf"]
    proximity: Literal["original", "clip_calibration"]
    neighbours: int
    columns: dict[str, str]
    scale: float
    says: str

    @property
    def headline(self) -> str:
        """The calibration error that its tables begin with."""
        return next(iter(self.columns))


_TEXTBOOK_COLUMNS = {
    "ece_positive": "ECE, positive",
    "ece_decision": "ECE, decision",
    "signed_error": "signed error",
    "mce_positive": "MCE",
    "brier": "Brier",
    "map": "mAP",
}
_LINEAGE_COLUMNS = {
    "ece_decision": "ECE",
    "ace_decision": "ACE",
    "mce_weighted_decision": "MCE (weighted)",
    "piece_decision": "PIECE",
}

PRESETS = {
    "textbook": Preset(
        15, "ranks", "original", 10, _TEXTBOOK_COLUMNS, 100.0,
        "15 bins; MCE is the largest gap; equal-mass bins cut by rank",
    ),
    "procal": Preset(
        10, "averaged_inverted_cdf", "original", 10, _LINEAGE_COLUMNS, 1.0,
        "as the code of ProCal: 10 bins, decision confidence, MCE is the largest share × gap, "
        "equal-mass bins as scikit-learn's KBinsDiscretizer cuts them (on all entries, not on a "
        "random part of them), PIECE over 10 bins of proximity",
    ),
    "paper": Preset(
        10, "averaged_inverted_cdf", "clip_calibration", 5, _LINEAGE_COLUMNS, 100.0,
        "what the tables of the CCR paper most likely print, in 10⁻²: the code of DAC "
        "(CLIP_Calibration), 10 bins, decision confidence, MCE is the largest share × gap",
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        BadConfig: there is none.
    """
    if name not in PRESETS:
        raise BadConfig(
            f"The preset must be one of {', '.join(PRESETS)}, "
            f"but got {name!r}{nearest(name, PRESETS)}"
        )
    return PRESETS[name]
