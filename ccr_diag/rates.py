"""Images a second that went through a model here, remembered so that the next time can be told.

rates.json    {"model, device, precision": images a second}, in the cache
"""

import contextlib
import json
from pathlib import Path

from ccr_diag.errors import NoSpace
from ccr_diag.runs import cache_folder, write_text

RATES = "rates.json"


def known_rate(
    model: str, device: str, precision: str = "fp32", *, cache: Path | None = None
) -> float | None:
    """Images a second, decoding included, when features of images were last made; None if never.

    Args:
        model: ``Backbone.name``: the model, and after a colon its pretrained tag if it has one.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``amp_bf16``.
        cache: folder of the cache, by default ``cache_folder()``.
    """
    rate = _rates(cache).get(_key(model, device, precision))
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


def record_rate(
    model: str, device: str, precision: str, rate: float, *, cache: Path | None = None
) -> None:
    """Remember a rate, in the place of an earlier one, or else go without.

    Args:
        model: see ``known_rate``.
        device: see ``known_rate``.
        precision: see ``known_rate``.
        rate: images a second.
        cache: folder of the cache, by default ``cache_folder()``.
    """
    rates = _rates(cache) | {_key(model, device, precision): round(rate, 1)}
    with contextlib.suppress(OSError, NoSpace):
        write_text((cache or cache_folder()) / RATES, json.dumps(rates, indent=1) + "\n")


def _key(model: str, device: str, precision: str) -> str:
    return f"{model}, {device}, {precision}"


def _rates(cache: Path | None) -> dict[str, object]:
    """What is remembered; nothing where the file is damaged."""
    try:
        found = json.loads(((cache or cache_folder()) / RATES).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
