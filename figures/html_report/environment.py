"""Templates → a page. Every value is escaped, and an undefined one is an error."""

import base64
import hashlib
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
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    # The page allows this script by its digest, and no other: not even a handler in an attribute.
    digest = hashlib.sha256(script.encode()).digest()
    environment.globals |= {
        "css": (FOLDER / "report.css").read_text(encoding="utf-8"),
        "script": script,
        "script_hash": f"sha256-{base64.b64encode(digest).decode()}",
    }
    return environment
