"""The options of a command in a TOML file: ``--config`` reads it, ``--print-config`` writes it.

A key is the name of an option, or of an argument: ``batch_size`` or ``batch-size``, ``files``. What
may be given more than once is a list. A file is read as strictly as flags are, and flags override
it.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import click

from ccr_diag.errors import BadConfig, CcrDiagError, nearest
from ccr_diag.located_toml import LocatedToml, parse_located
from ccr_diag.written_toml import to_toml

Kind = tuple[str, tuple[type, ...]]
"""What a value must be: in words, and as a type of TOML."""

WORDS: Kind = ("a word or words in quotes", (str,))
WHOLE: Kind = ("a whole number", (int,))
NUMBER: Kind = ("a number", (int, float))
SWITCH: Kind = ("true or false", (bool,))


def read_options(
    path: Path, context: click.Context, options: Iterable[click.Parameter], by_name: Collection[str]
) -> dict[str, Any]:
    """Parameter → its value in the file, as click takes defaults.

    Args:
        path: the file.
        context: of the command.
        options: what may be set.
        by_name: see ``keys_of``.

    Raises:
        BadConfig: it cannot be read, or a key or a value is wrong; the text says where.
    """
    known = {key: option for option in options for key in keys_of(option, by_name)}
    toml = parse_located(str(path), _read(path))
    found: dict[str, Any] = {}
    source: dict[str, str] = {}
    for key, value in toml.data.items():
        option = known.get(key.replace("-", "_"))
        if option is None:
            written = (keys_of(option, by_name)[0] for option in options)
            raise toml.error(f"unknown key {key!r}{nearest(key, written)}", key)
        checked = _checked(toml, key, value, option, context)
        if checked is None:
            continue
        if option.name in source:
            raise toml.error(
                f"{key} and {source[option.name]} set the same; leave one of them out.", key
            )
        source[option.name] = key
        found[option.name] = checked
    return found


def written_options(
    options: Iterable[click.Parameter], values: Mapping[str, Any], by_name: Collection[str]
) -> str:
    """Every option that has a value, as ``read_options`` takes it.

    Args:
        options: of the command.
        values: parameter → value.
        by_name: see ``keys_of``.

    Raises:
        BadConfig: a text that UTF-8 cannot hold.
    """
    plain: dict[str, Any] = {}
    for option in options:
        value = values[option.name]
        if _is_one_of_several(option):
            value = True if value == option.flag_value else None
        if value is not None and value != ():
            plain[keys_of(option, by_name)[0]] = _plain(value)
    return to_toml(plain)


def keys_of(option: click.Parameter, by_name: Collection[str] = ()) -> list[str]:
    """The names of a parameter in a file, first the one that is written.

    Args:
        option: of ``--batch-size`` it is ``batch_size``.
        by_name: parameters that go by the name of their parameter, and also by that of the option.
    """
    if isinstance(option, click.Argument):
        return [option.name]
    flag = max(option.opts, key=len).lstrip("-").replace("-", "_")
    return [option.name.rstrip("_"), option.name, flag] if option.name in by_name else [flag]


def _plain(value: Any) -> Any:
    """As TOML knows it."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadConfig(
            f"The config must be a TOML file, but {path} cannot be read ({error.strerror})."
        ) from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"The config must be a TOML file, but {path} is not ({error}).") from error


def _checked(
    toml: LocatedToml, key: str, value: Any, option: click.Parameter, context: click.Context
) -> Any:
    """The value, which is of the kind of the option and which click takes; None for not given."""
    several = option.nargs == -1 or getattr(option, "multiple", False)
    said, kinds = _kind(option)
    if several and not isinstance(value, list):
        raise toml.error(f"{key} must be a list in [ ], each {said}, but got {_shown(value)}.", key)
    for part in value if several else [value]:
        if type(part) not in kinds or "\0" in str(part):
            raise toml.error(f"{key} must be {said}, but got {_shown(part)}.", key, value=part)
    if _is_one_of_several(option):
        return option.flag_value if value else None
    if value == []:
        return None
    try:
        option.process_value(context, value)
    except (click.UsageError, CcrDiagError) as error:
        text = error.message if isinstance(error, click.UsageError) else str(error)
        end = "" if text.endswith((".", "?")) else "."
        raise toml.error(f"invalid value for {key}: {text}{end}", key) from error
    return value


def _shown(value: Any) -> str:
    """As it stands in the file."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _is_one_of_several(option: click.Parameter) -> TypeGuard[click.Option]:
    """Whether an option is one of several switches that set one parameter, as ``--logits``."""
    return isinstance(option, click.Option) and option.is_flag and not option.is_bool_flag


def _kind(option: click.Parameter) -> Kind:
    """What the value of an option must be."""
    if isinstance(option, click.Option) and option.is_flag:
        return SWITCH
    if isinstance(option.type, click.types.IntParamType):
        return WHOLE
    if isinstance(option.type, click.types.FloatParamType):
        return NUMBER
    return getattr(option.type, "in_toml", WORDS)
