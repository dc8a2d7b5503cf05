"""Grids: a TOML file in, the runs of a sweep and what is measured of them out.

    splits = 5                    # or a list of split numbers
    preset = "textbook"           # and n_bins, as in `analyze`
    [settings]                    # of every run; any setting of `finetune`
    bias = "prior"
    [[grid]]                      # a block crosses its lists; [grid] where there is only one
    regularizer = ["none", "ccr"]
    lambda = [1, 10, 100]
    [test]
    data = ["scenes", "scenes:noto"]    # the run's own where nothing is said
    split = "test"
    [calibration]
    split = "calibration"
    calibrators = ["none", "temperature", "platt by group"]

Blocks are put one after another. A setting that plays no part in a run, such as λ without a
regularizer, is put to its default, and each run is kept once: the grid above has four settings.
"""

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ccr_diag.calibrators import METHODS
from ccr_diag.config import DIFFUSERS, FinetuneConfig, config_from_dict
from ccr_diag.data import DATASETS
from ccr_diag.errors import BadConfig, nearest
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.located_toml import Keys, LocatedToml, Values, parse_located
from ccr_diag.metrics.presets import PRESETS

READY = {
    "frameworks": "every framework with BCE alone, DOR and CCR",
    "rates": "the learning rates and λ that `frameworks` takes, on the calibration split",
    "lambda": "CCR by λ over four decades",
    "batch-size": "CCR by batch size",
    "estimators": "CCR by estimator, λ and bias rule",
    "few-shot": "CCR by images a class",
    "base-to-new": "BCE alone, DOR and CCR tuned on the first half of the classes",
    "styles": "DOR and CCR in drawing styles that were not tuned on",
    "calibrators": "how much of CCR's gain a calibrator fitted afterwards gives",
    "steps": "CCR by epochs of tuning",
}
READY_FOLDER = Path(__file__).parent / "ready_grids"

KINDS: dict[str, type] = {field.name: type(field.default) for field in fields(FinetuneConfig)}
SEED = "seed"  # no setting of a grid: `splits` gives the seeds
SETTINGS = tuple(name.rstrip("_") for name in KINDS if name != SEED)
TABLES = {
    "settings": SETTINGS,
    "grid": SETTINGS,
    "test": ("data", "split"),
    "calibration": ("split", "calibrators"),
}
TOP = ("splits", "preset", "n_bins")
SINGLE = ("settings", "test", "calibration")  # a grid may have several blocks
MOST_BINS = 10_000

SCOPES = ("group", "class")
DAC = ("dac", "dac_top1")
CALIBRATORS = ("none", *METHODS, *DAC)
UNSCOPED = ("none", *DAC)

# Regularizer → the settings that it reads.
PARTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "ccr": ("lambda_", "estimator", "target", "reduction"),
    "kgcoop": ("lambda_",),
    "dor": ("lambda_", "outliers", "top_outliers", "n_outliers"),
}
OF_CONTEXT = ("n_context", "context_init", "position")
OF_GENERATOR = ("generator_steps", "generator_guidance", "generator_size")


@dataclass(frozen=True)
class Grid:
    """What a sweep runs and measures.

    Args:
        runs: every split of every setting, each once, in the order of the file.
        varied: fields of ``FinetuneConfig`` that the blocks name and that differ among the runs.
        data: data sets to test on; empty for each run's own.
        split: split of these.
        calibration_split: split that calibrators are fitted on.
        calibrators: ``none`` first; ``METHOD``, ``METHOD by group`` or ``METHOD by class``.
        preset: definitions of the calibration errors, a key of ``PRESETS``.
        n_bins: bins in place of the preset's.
        text: of the file, and a comment for each setting that was given in its place.
    """

    runs: tuple[FinetuneConfig, ...]
    varied: tuple[str, ...]
    data: tuple[str, ...]
    split: str
    calibration_split: str
    calibrators: tuple[str, ...]
    preset: str
    n_bins: int | None
    text: str


def load_grid(source: str, sets: Sequence[str] = ()) -> Grid:
    """Read a grid.

    Args:
        source: a path, or a name of ``READY``.
        sets: ``KEY=VALUE``, a setting of every run in place of what the file says of it; KEY may
            also be ``splits``, ``preset``, ``n_bins`` or ``TABLE.KEY``, such as ``test.data``.

    Raises:
        BadConfig: no such file, not TOML, or anything in it that is not known, of the wrong kind
            or contradictory; the text says where it stands.
    """
    text = _read(source)
    toml = parse_located(source, text)
    for word in sets:
        _put(toml, word)
    _check_keys(toml)
    settings, varied = _settings(toml)
    seeds = _splits(toml)
    return Grid(
        runs=tuple(config.replace(seed=seed) for config in settings for seed in seeds),
        varied=varied,
        data=_test_data(toml),
        split=_word(toml, "test", "split", "test"),
        calibration_split=_word(toml, "calibration", "split", "calibration"),
        calibrators=_calibrators(toml),
        preset=_preset(toml),
        n_bins=_n_bins(toml),
        text="".join([text, *(f"# --set {word}\n" for word in sets)]),
    )


def run_name(config: FinetuneConfig) -> str:
    """Method, and a digest of all settings but the seed: ``cocoop-bce+ccr-3f2a91c0``.

    Settings at their default are no part of it: one that a later version adds changes no name.
    """
    defaults = FinetuneConfig().as_dict() | {SEED: config.seed}
    values = {k: value for k, value in config.as_dict().items() if value != defaults[k]}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return f"{config.method.replace(' ', '-')}-{digest[:8]}"


def _read(source: str) -> str:
    path = READY_FOLDER / f"{source}.toml" if source in READY else Path(source)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise BadConfig(
            f"A grid must be a TOML file or the name of a ready one, but {source!r} is neither"
            f"{nearest(source, READY)}"
        ) from error
    except OSError as error:
        raise BadConfig(
            f"A grid must be a TOML file, but {source} cannot be read ({error.strerror})."
        ) from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"A grid must be a TOML file, but {source} is not ({error}).") from error


def _put(toml: LocatedToml, word: str) -> None:
    """Take ``KEY=VALUE`` in place of what the file says."""
    key, equals, written = (part.strip() for part in word.partition("="))
    if not equals:
        raise BadConfig(f"What to set must be given as KEY=VALUE, but got {word!r}.")
    key = _shown(key)
    known = [*TOP, *SETTINGS, *(f"{table}.{name}" for table in SINGLE for name in TABLES[table])]
    if key not in known:
        hint = _home(key, known) if key == SEED else nearest(key, known)
        raise BadConfig(f"--set {word}: unknown key {key!r}{hint}")
    table, dot, name = key.partition(".")
    keys = (table, name) if dot else (key,) if key in TOP else ("settings", key)
    value = _value_of(written, KINDS.get(_field(keys[-1])))
    toml.put(value, *keys, given=f"--set {word}")


def _value_of(written: str, kind: type | None) -> object:
    """What is written in TOML, or else the words themselves."""
    try:
        value: object = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        return written
    return written if kind is str and not isinstance(value, str | list) else value


def _field(key: str) -> str:
    """The name of a setting in ``FinetuneConfig``."""
    return "lambda_" if key == "lambda" else key


def _shown(key: str) -> str:
    """The name of a setting in a grid."""
    return "lambda" if key == "lambda_" else key


def _blocks(toml: LocatedToml) -> Iterator[tuple[Keys, Values]]:
    """Where each block of the grid stands, and its keys but for those that were put."""
    found = toml.data.get("grid", {})
    blocks = [found] if isinstance(found, dict) else found
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise toml.error(f"grid must be tables, [[grid]], but got {found!r}.", "grid")
    for number, block in enumerate(blocks):
        keys: Keys = ("grid",) if isinstance(found, dict) else ("grid", number)
        yield keys, {k: v for k, v in block.items() if ("settings", _shown(k)) not in toml.puts}


def _check_keys(toml: LocatedToml) -> None:
    """Refuse a key that is not known; of one that stands in the wrong table say where it belongs.

    A key after [calibration] is in that table, so the top ones are easily misplaced.
    """
    tables: list[tuple[Keys, Values]] = [((), toml.data)]
    tables += [((name,), toml.table(name)) for name in SINGLE]
    tables += _blocks(toml)
    for keys, values in tables:
        known = TABLES[str(keys[0])] if keys else (*TOP, *TABLES)
        for key in values:
            if _shown(key) not in known:
                of = f" of [{keys[0]}]" if keys else ""
                raise toml.error(f"unknown key {key!r}{of}{_home(key, known)}", *keys, key)


def _home(key: str, known: Sequence[str]) -> str:
    """Where a key belongs that is not among the known ones, or the nearest of these."""
    if key == SEED:
        return "; the seeds of a sweep are its splits."
    homes = [f"[{table}]" for table, names in TABLES.items() if _shown(key) in names]
    homes += ["the top of the file, before any table"] * (key in TOP)
    return f"; it belongs to {homes[0]}." if homes else nearest(key, known)


def _settings(toml: LocatedToml) -> tuple[list[FinetuneConfig], tuple[str, ...]]:
    """Each setting once, with the default seed, and the fields that are varied."""
    common = {_field(key): value for key, value in toml.table("settings").items()}
    stands: dict[str, Keys] = {_field(key): ("settings", key) for key in toml.table("settings")}
    for name, value in common.items():
        if isinstance(value, list) and KINDS[name] is not tuple:
            raise toml.error(
                f"{_shown(name)} must be one value in [settings], but got a list; lists are "
                "crossed in [[grid]].",
                *stands[name],
            )
    found: dict[FinetuneConfig, None] = {}
    named: dict[str, None] = {}
    for keys, block in _blocks(toml):
        lists = {_field(key): _listed(toml, value, *keys, key) for key, value in block.items()}
        where = stands | {_field(key): (*keys, key) for key in block}
        named |= dict.fromkeys(lists)
        for values in itertools.product(*lists.values()):
            chosen = common | dict(zip(lists, values, strict=True))
            found[_config(toml, chosen, where)] = None
    if not found or not (common or named):
        raise BadConfig(
            f"{toml.place} names no runs; give a setting in [settings], or lists of them in "
            "[[grid]]."
        )
    return list(found), tuple(name for name in named if len({getattr(c, name) for c in found}) > 1)


def _listed(toml: LocatedToml, value: object, *keys: str | int) -> list[object]:
    """The values of a setting in a block: those of a list, or one value."""
    if not isinstance(value, list):
        return [value]
    if KINDS[_field(str(keys[-1]))] is tuple:  # one value is a list itself
        return value if value and all(isinstance(part, list) for part in value) else [value]
    if not value:
        raise toml.error(f"{keys[-1]} must have a value or more, but got an empty list.", *keys)
    return value


def _config(toml: LocatedToml, chosen: Values, where: Mapping[str, Keys]) -> FinetuneConfig:
    """One setting, in which everything that plays no part is at its default."""
    for name, value in chosen.items():
        words = value if isinstance(value, list) else []  # a kind of setting that holds several
        if any(not isinstance(word, str) for word in words):
            raise toml.error(
                f"{_shown(name)} must be a list of words, but got {value!r}.", *where[name]
            )
    try:
        config = config_from_dict(chosen)
    except BadConfig as error:
        raise _located(toml, str(error), chosen, where) from error
    if "data" in chosen:
        _check_data(toml, config.data, *where["data"])
    idle = _idle(config)
    return config_from_dict({name: value for name, value in chosen.items() if name not in idle})


def _located(toml: LocatedToml, text: str, chosen: Values, where: Mapping[str, Keys]) -> BadConfig:
    """A complaint about settings, with the fewest of them that bring it about.

    It is placed where the last of them stands; what was given in place of the file comes last.
    """
    guilty = next(
        names
        for size in range(1, len(chosen) + 1)
        for names in itertools.combinations(chosen, size)
        if _complaint({name: chosen[name] for name in names}) == text
    )
    last = max(guilty, key=lambda name: (where[name] in toml.puts, toml.line(*where[name])))
    together = " with ".join(f"{_shown(name)} {chosen[name]!r}" for name in guilty)
    text = f"{together}: {text}" if len(guilty) > 1 else text
    return toml.error(text, *where[last], value=chosen[last])


def _complaint(values: Values) -> str:
    try:
        config_from_dict(values)
    except BadConfig as error:
        return str(error)
    return ""


def _idle(config: FinetuneConfig) -> set[str]:
    """The settings that play no part."""
    framework = FRAMEWORKS[config.framework]
    idle = {name for names in PARTS.values() for name in names} - set(PARTS[config.regularizer])
    if config.images_from != DIFFUSERS:
        idle |= set(OF_GENERATOR)
    if "residual_ratio" not in framework.DEFAULTS:
        idle.add("residual_ratio")
    if not hasattr(framework, "encode_names"):
        idle |= set(OF_CONTEXT)
    elif config.context_init:
        idle.add("n_context")
    return idle


def _splits(toml: LocatedToml) -> list[int]:
    """The split numbers, each once."""
    given = toml.data.get("splits", 5)
    if type(given) is int and given < 1:
        raise toml.error(f"splits must be at least 1, but got {given}.", "splits")
    numbers = list(range(1, given + 1)) if type(given) is int else given
    if not isinstance(numbers, list) or not numbers or any(type(n) is not int for n in numbers):
        raise toml.error(
            f"splits must be their number, or a list of split numbers, but got {given!r}.",
            "splits",
        )
    for number in numbers:
        if not 0 <= number < 2**31:
            raise toml.error(
                f"a split number must lie in 0 … 2³¹ − 1, but got {number}.",
                "splits",
                value=number,
            )
    return list(dict.fromkeys(numbers))


def _preset(toml: LocatedToml) -> str:
    name = toml.data.get("preset", "textbook")
    if not isinstance(name, str) or name not in PRESETS:
        raise toml.error(
            f"preset must be one of {', '.join(PRESETS)}, but got {name!r}"
            f"{nearest(str(name), PRESETS)}",
            "preset",
        )
    return name


def _n_bins(toml: LocatedToml) -> int | None:
    number = toml.data.get("n_bins")
    if number is None:
        return None
    if type(number) is not int or not 1 <= number <= MOST_BINS:
        raise toml.error(
            f"n_bins must be a whole number from 1 to {MOST_BINS}, but got {number!r}.", "n_bins"
        )
    return number


def _test_data(toml: LocatedToml) -> tuple[str, ...]:
    """The data sets to test on."""
    specs = _words(toml, "test", "data", ())
    for spec in specs:
        _check_data(toml, spec, "test", "data")
    return specs


def _check_data(toml: LocatedToml, spec: str, *keys: str | int) -> None:
    """Refuse a data set of an unknown kind."""
    kind = spec.partition(":")[0]
    if kind not in DATASETS:
        raise toml.error(
            f"a data set is named as KIND or KIND:ARGUMENT, but {spec!r} has no known kind"
            f"{nearest(kind, DATASETS)}",
            *keys,
            value=spec,
        )


def _calibrators(toml: LocatedToml) -> tuple[str, ...]:
    """The calibrators, ``none`` first."""
    words = _words(toml, "calibration", "calibrators", ("none",))
    for word in words:
        method, by, scope = word.partition(" by ")
        if method not in CALIBRATORS:
            wrong = f"unknown calibrator {method!r}{nearest(method, CALIBRATORS)}"
        elif by and scope not in SCOPES:
            wrong = f"a calibrator must be by group or by class, but got {word!r}."
        elif by and method in UNSCOPED:
            wrong = f"calibrator {method!r} must stand alone, but got {word!r}."
        else:
            continue
        raise toml.error(wrong, "calibration", "calibrators", value=word)
    return tuple(dict.fromkeys(["none", *words]))


def _word(toml: LocatedToml, table: str, key: str, default: str) -> str:
    """One word of a table."""
    value = toml.table(table).get(key, default)
    if not isinstance(value, str) or not value:
        raise toml.error(f"{key} of [{table}] must be one word, but got {value!r}.", table, key)
    return value


def _words(toml: LocatedToml, table: str, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a list of a table, each once; one word is a list of one."""
    if key not in toml.table(table):
        return default
    value = toml.table(table)[key]
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise toml.error(
            f"{key} of [{table}] must be a list of a word or more, but got {value!r}.", table, key
        )
    return tuple(dict.fromkeys(words))
