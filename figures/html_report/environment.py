"""Templates → a page. Every value is escaped, and an undefined one is an error."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


def render(template: str, **content: Any) -> str:
    """A page of its own: style and script inside, nothing fetched.

    Args:
        template: a file of this folder that extends ``base.html.j2``.
        **content: what it shows.
    """
    return environment().get_template(template).render(**content)


@cache
def environment() -> Environment:
    """Where templates are read from, and what they all know."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    # The page allows this script by its digest, and no other: not even a handler in an attribute.
    digest = hashlib.sha256(script.encode()).digest()
    environment.globals |= {
        "css": (FOLDER / "report.css").read_text(encoding="utf-8"),
        "script": script,
        "script_hash": f"sha256-{base64.b64encode(digest).decode()}",
    }
    return environment


def _unbroken(sentence: str) -> str:
    """The same with no line break within “2.7 %”, “2.7 points” or “[2.4, 2.8]”."""
    kept = re.sub(r"(?<=\d) (?=%|points\b)", "\u00a0", sentence)
    return re.sub(r"(?<=\d), (?=[−\d.]+\])", ",\u00a0", kept)
