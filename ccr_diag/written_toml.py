"""Plain values as TOML, a line each: what ``tomllib`` reads back is what was given."""

import json
from collections.abc import Mapping, Sequence

from ccr_diag.errors import BadConfig

Value = str | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]


def to_toml(values: Mapping[str, Value]) -> str:
    """One ``name = value`` line a name.

    Raises:
        BadConfig: a text that UTF-8 cannot hold, such as a path of arbitrary bytes.
    """
    text = "".join(f"{name} = {_written(value)}\n" for name, value in values.items())
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadConfig(
            f"A TOML file must be UTF-8, but one value is not ({text[error.start :][:1]!r}); "
            "rename that file or word."
        ) from error
    return text


def _written(value: Value) -> str:
    """JSON writes these values as TOML does, but for floats without a number and one character."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, float):
        return repr(value)  # inf and nan too
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
