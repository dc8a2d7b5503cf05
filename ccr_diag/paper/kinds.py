"""Which tables the paper has: what their rows and columns are."""

from dataclasses import dataclass

from ccr_diag.paper.methods import ACCURACY
from ccr_diag.report_tables import ALL
from ccr_diag.sweep_table import ZERO_SHOT

Asked = dict[str, tuple[str, str]]
"""What a row of each framework is called → metric and group."""


@dataclass(frozen=True)
class Kind:
    """What a table of the paper shows.

    Args:
        name: of its files.
        title: in words.
        rows: of each framework.
        rows_are: what these are.
        methods: its columns.
        across_data: whether runs are followed over several data sets, with rows for each.
    """

    name: str
    title: str
    rows: Asked
    rows_are: str
    methods: tuple[str, ...]
    across_data: bool = False


def _segments(metric: str) -> Asked:
    return {group: (metric, group) for group in ("head", "medium", "tail", "new")}


def _base_and_new(metric: str) -> Asked:
    found = {group: (metric, group) for group in ("head", "tail", "base", "new")}
    return found | {"base and new, harmonic mean": (f"{metric}_harmonic", ALL)}


KINDS = (
    Kind(
        "calibration_error",
        "Calibration error by framework, all classes, decision confidence (lower is better)",
        {
            "ECE": ("ece_decision", ALL),
            "ACE": ("ace_decision", ALL),
            "MCE, weighted": ("mce_weighted_decision", ALL),
            "PIECE": ("piece_decision", ALL),
        },
        "metric",
        ("plain", "DAC", "DOR", "CCR"),
    ),
    Kind(
        "calibration_error_positive",
        "Calibration error by framework, all classes, positive confidence (lower is better)",
        {
            "ECE": ("ece_positive", ALL),
            "ACE": ("ace_positive", ALL),
            "MCE, weighted": ("mce_weighted_positive", ALL),
        },
        "metric",
        ("plain", "DAC", "DOR", "CCR"),
    ),
    Kind(
        "base_to_new_accuracy",
        "Base to new: element-wise accuracy at p ≥ 0.5 (higher is better)",
        _base_and_new(ACCURACY),
        "classes",
        (ZERO_SHOT, "plain", "DOR", "CCR"),
    ),
    Kind(
        "base_to_new_map",
        "Base to new: mAP (higher is better)",
        _base_and_new("map"),
        "classes",
        (ZERO_SHOT, "plain", "DOR", "CCR"),
    ),
    Kind(
        "segment_ece_decision",
        "ECE by segment, decision confidence (lower is better)",
        _segments("ece_decision"),
        "classes",
        ("plain", "DOR", "CCR"),
    ),
    Kind(
        "segment_ece_positive",
        "ECE by segment, positive confidence (lower is better)",
        _segments("ece_positive"),
        "classes",
        ("plain", "DOR", "CCR"),
    ),
    Kind(
        "domain_generalisation",
        "Domain generalisation, all classes: ECE of decision confidence (lower is better) and "
        "element-wise accuracy at p ≥ 0.5 (higher is better)",
        {"ECE": ("ece_decision", ALL), "accuracy": (ACCURACY, ALL)},
        "metric",
        ("plain", "DOR", "CCR"),
        across_data=True,
    ),
)
