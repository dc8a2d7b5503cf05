import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag import grids
from ccr_diag.config import CHOICES, FinetuneConfig, config_from_dict
from ccr_diag.covariance import CENTRED
from ccr_diag.data.scenes import STYLES
from ccr_diag.errors import BadConfig
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.grids import READY, READY_FOLDER, load_grid, run_name
from ccr_diag.located_toml import parse_located
from ccr_diag.losses import REGULARIZERS

WHOLE = """\
splits = [3, 1]
preset = "paper"
n_bins = 20
[settings]
bias = "prior"
epochs = 4
[[grid]]
framework = ["coop", "kgcoop"]
regularizer = ["none", "ccr"]
lambda = [1, 10.5]
[[grid]]
epochs = [1, 2]
[test]
data = ["scenes", "scenes:noto"]
split = "calibration"
[calibration]
split = "train"
calibrators = ["platt", "temperature by group", "none", "dac", "platt"]
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Reads a text as the grid ``g.toml``."""
    monkeypatch.chdir(tmp_path)

    def read(text, sets=()):
        (tmp_path / "g.toml").write_text(text, encoding="utf-8")
        return load_grid("g.toml", sets)

    return read


def settings(grid):
    """The settings of a grid's first split."""
    seed = grid.runs[0].seed
    return [config.replace(seed=1) for config in grid.runs if config.seed == seed]


def test_whole_grid(load):
    grid = load(WHOLE)
    common = {"bias": "prior", "epochs": 4}
    of_framework = [
        common | {"framework": framework} | added
        for framework in ("coop", "kgcoop")
        for added in (
            {},
            {"regularizer": "ccr", "lambda": 1.0},
            {"regularizer": "ccr", "lambda": 10.5},
        )
    ]
    of_epochs = [{"bias": "prior", "epochs": 1}, {"bias": "prior", "epochs": 2}]
    expected = [config_from_dict(values) for values in of_framework + of_epochs]
    assert settings(grid) == expected
    assert grid.runs == tuple(c.replace(seed=seed) for c in expected for seed in (3, 1))
    assert grid.varied == ("framework", "regularizer", "lambda_", "epochs")
    assert grid.data == ("scenes", "scenes:noto")
    assert (grid.split, grid.calibration_split) == ("calibration", "train")
    assert grid.calibrators == ("none", "platt", "temperature by group", "dac")
    assert (grid.preset, grid.n_bins, grid.text) == ("paper", 20, WHOLE)


def test_what_is_not_said(load):
    grid = load('[settings]\nbias = "prior"\n')
    assert grid.runs == tuple(FinetuneConfig(bias="prior", seed=seed) for seed in range(1, 6))
    assert (grid.varied, grid.data, grid.split) == ((), (), "test")
    assert (grid.calibration_split, grid.calibrators) == ("calibration", ("none",))
    assert (grid.preset, grid.n_bins) == ("textbook", None)


def test_one_block_is_a_table(load):
    table = load("[grid]\nepochs = [1, 2]\n")
    assert table.runs == load("[[grid]]\nepochs = [1, 2]\n").runs
    assert [config.epochs for config in settings(table)] == [1, 2]


def test_a_setting_in_two_blocks_runs_once(load):
    grid = load("splits = 2\n[[grid]]\nepochs = [1, 2]\n[[grid]]\nepochs = [3, 2]\n")
    assert [(c.epochs, c.seed) for c in grid.runs] == [
        *[(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    ]


@pytest.mark.parametrize(
    ("fixed", "lists", "n_settings"),
    [
        ({}, {"lambda_": [1, 2], "estimator": ["centred", "uncentred"], "top_outliers": [5, 6]}, 1),
        ({}, {"regularizer": ["none", "ccr"], "lambda_": [1, 2], "target": ["raw", "auto"]}, 5),
        ({"regularizer": "ccr"}, {"reduction": ["sum", "mean"], "n_outliers": [1, 2]}, 2),
        ({"regularizer": "dor"}, {"lambda_": [1, 2], "n_outliers": [1, 2]}, 4),
        ({"regularizer": "kgcoop"}, {"lambda_": [1, 2], "estimator": ["centred", "uncentred"]}, 2),
        ({}, {"residual_ratio": [0.1, 0.3]}, 1),
        ({"framework": "clip_adapter"}, {"residual_ratio": [0.1, 0.3], "n_context": [2, 4]}, 2),
        ({"framework": "clip_adapter"}, {"context_init": ["a", "b"], "position": ["end"]}, 1),
        ({"context_init": "a photo"}, {"n_context": [2, 4]}, 1),
        ({}, {"n_context": [2, 4]}, 2),
        ({}, {"position": ["end", "front"]}, 2),
        ({}, {"generator_steps": [5, 6]}, 1),
    ],
)
def test_a_setting_that_plays_no_part_makes_no_run(load, fixed, lists, n_settings):
    lines = [*(f"{k} = {v!r}" for k, v in fixed.items()), *(f"{k} = {v}" for k, v in lists.items())]
    assert len(settings(load("\n".join(["[[grid]]", *lines])))) == n_settings


def test_idle_settings_are_known():
    idle = {name for names in grids.PARTS.values() for name in names}
    assert idle | {*grids.OF_CONTEXT, *grids.OF_GENERATOR} <= set(grids.KINDS)
    assert set(grids.PARTS) == {"none", *REGULARIZERS}


def test_varied_are_those_that_differ(load):
    lists = 'epochs = [2]\nlambda = [1, 2]\nbias = ["prior", "none"]\nframework = "kgcoop"\n'
    assert load(f"[[grid]]\n{lists}").varied == ("bias",)
    assert load(f"[[grid]]\n{lists}[[grid]]\nepochs = 3\n").varied == (
        "epochs",
        "bias",
        "framework",
    )


def test_classes_are_one_value_or_lists_of_them(load):
    one = load('[grid]\nnew_classes = ["dog", "cat"]\n')
    assert [config.new_classes for config in settings(one)] == [("dog", "cat")]
    two = load('[grid]\nnew_classes = [["dog"], ["cat", "cow"]]\n')
    assert [config.new_classes for config in settings(two)] == [("dog",), ("cat", "cow")]


def test_what_is_set_stands_in_place_of_the_file(load):
    sets = [
        "epochs=7",
        "lambda = 3",
        "framework=coop",
        "pretrained=2024",
        "splits=[4]",
        "n_bins=5",
        'test.data=["scenes:emojione"]',
        "calibration.split=validation",
    ]
    grid = load(WHOLE, sets)
    common = {"bias": "prior", "epochs": 7, "pretrained": "2024", "seed": 4}
    assert grid.runs == (
        config_from_dict(common),
        config_from_dict(common | {"regularizer": "ccr", "lambda": 3.0}),
    )
    assert (grid.varied, grid.data) == (("regularizer",), ("scenes:emojione",))
    assert (grid.n_bins, grid.calibration_split, grid.split) == (5, "validation", "calibration")
    assert grid.text == WHOLE + "".join(f"# --set {word}\n" for word in sets)
    assert load(grid.text).preset == "paper"  # still TOML


BAD = {  # text → what is said after the file's name
    "x = 1\n": (
        "line 1: unknown key 'x'; known are calibration, grid, n_bins, preset, settings, "
        "splits, test."
    ),
    "splits = 1\n[setings]\n": "line 2: unknown key 'setings'; did you mean 'settings'?",
    "epochs = 1\n": "line 1: unknown key 'epochs'; it belongs to [settings].",
    "\n[test]\n# more\nsplits = 3\n": (
        "line 4: unknown key 'splits' of [test]; it belongs to the top of the file, before "
        "any table."
    ),
    "[test]\ncalibrators = []\n": (
        "line 2: unknown key 'calibrators' of [test]; it belongs to [calibration]."
    ),
    "[settings]\nseed = 3\n": (
        "line 2: unknown key 'seed' of [settings]; the seeds of a sweep are its splits."
    ),
    "[[grid]]\nepochs = 1\n[[grid]]\n\nlamda = [1]\n": (
        "line 5: unknown key 'lamda' of [grid]; did you mean 'lambda'?"
    ),
    "[settings]\nloss = 'bse'\n": (
        "line 2: loss must be one of bce, ranking, asl, but got 'bse'; did you mean 'bce'?"
    ),
    "[grid]\nepochs = 1\nloss = [\n  'bce', # bse\n  'bse',\n]\n": (
        "line 5: loss must be one of bce, ranking, asl, but got 'bse'; did you mean 'bce'?"
    ),
    "[settings]\nepochs = [1, 2]\n": (
        "line 2: epochs must be one value in [settings], but got a list; lists are crossed in"
        " [[grid]]."
    ),
    "[grid]\nepochs = []\n": "line 2: epochs must have a value or more, but got an empty list.",
    "[grid]\nepochs = [\n1,\n0]\n": "line 4: epochs must be at least 1, but got 0.",
    "[grid]\nepochs = [1, 1.5]\n": "line 2: Setting 'epochs' must be of kind int, but got 1.5.",
    "[grid]\nepochs = [[1]]\n": "line 2: epochs must be a list of words, but got [1].",
    "[grid]\nnew_classes = [['a'], 'b']\n": (
        "line 2: new_classes must be a list of words, but got [['a'], 'b']."
    ),
    "[settings]\nbias = 'learned'\n[[grid]]\n[[grid]]\nepochs = 3\nloss = ['ranking']\n": (
        "line 6: bias 'learned' with loss 'ranking': A bias is not learned by the ranking "
        "loss, in which it cancels, but got loss 'ranking' with bias 'learned'; choose "
        "another bias rule."
    ),
    "[settings]\nclass_specific = true\n[grid]\nframework = ['coop', 'cocoop']\n": (
        "line 4: class_specific True with framework 'cocoop': Setting class_specific goes "
        "with framework coop or kgcoop or dualcoop or tai_dpt or t2i_pal, but got 'cocoop' with "
        "class_specific True; leave it out."
    ),
    "[settings]\ndata = 'scene'\n": (
        "line 2: a data set is named as KIND or KIND:ARGUMENT, but 'scene' has no known kind;"
        " did you mean 'scenes'?"
    ),
    "grid.epochs = 1\n[test]\ndata = ['scenes', 'scens:noto']\n": (
        "line 3: a data set is named as KIND or KIND:ARGUMENT, but 'scens:noto' has no known "
        "kind; did you mean 'scenes'?"
    ),
    "[settings]\nepochs = 1\n[test]\ndata = []\n": (
        "line 4: data of [test] must be a list of a word or more, but got []."
    ),
    "[settings]\nepochs = 1\n[test]\nsplit = ['test']\n": (
        "line 4: split of [test] must be one word, but got ['test']."
    ),
    "splits = 0\n[settings]\nepochs = 1\n": "line 1: splits must be at least 1, but got 0.",
    "splits = []\n[settings]\nepochs = 1\n": (
        "line 1: splits must be their number, or a list of split numbers, but got []."
    ),
    "splits = true\n[settings]\nepochs = 1\n": (
        "line 1: splits must be their number, or a list of split numbers, but got True."
    ),
    "splits = [\n1,\n-2]\n[settings]\nepochs = 1\n": (
        "line 3: a split number must lie in 0 … 2³¹ − 1, but got -2."
    ),
    "preset = 'textbok'\n[settings]\nepochs = 1\n": (
        "line 1: preset must be one of textbook, procal, paper, but got 'textbok'; did you "
        "mean 'textbook'?"
    ),
    "n_bins = 0\n[settings]\nepochs = 1\n": (
        "line 1: n_bins must be a whole number from 1 to 10000, but got 0."
    ),
    "settings = 3\n": "line 1: settings must be a table, [settings], but got 3.",
    "splits = 1\ngrid = [3]\n": "line 2: grid must be tables, [[grid]], but got [3].",
    "[settings]\nepochs = 1\n[calibration]\ncalibrators = [\n  'none',\n  'plat by group',\n]\n": (
        "line 6: unknown calibrator 'plat'; did you mean 'platt'?"
    ),
    "[settings]\nepochs = 1\n[calibration]\ncalibrators = 'platt by image'\n": (
        "line 4: a calibrator must be by group or by class, but got 'platt by image'."
    ),
    "[settings]\nepochs = 1\n[calibration]\ncalibrators = ['dac by group']\n": (
        "line 4: calibrator 'dac' must stand alone, but got 'dac by group'."
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_grids(load, text):
    with pytest.raises(BadConfig) as error:
        load(text)
    assert str(error.value) == f"g.toml, {BAD[text]}"


@pytest.mark.parametrize("text", ["", "splits = 2\n", "grid = []\n[test]\nsplit = 'test'\n"])
def test_no_runs(load, text):
    with pytest.raises(BadConfig) as error:
        load(text)
    assert str(error.value) == (
        "g.toml names no runs; give a setting in [settings], or lists of them in [[grid]]."
    )


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("epochs", "What to set must be given as KEY=VALUE, but got 'epochs'."),
        ("epoch=1", "--set epoch=1: unknown key 'epoch'; did you mean 'epochs'?"),
        ("seed=1", "--set seed=1: unknown key 'seed'; the seeds of a sweep are its splits."),
        ("tset.data=a", "--set tset.data=a: unknown key 'tset.data'; did you mean 'test.data'?"),
        ("epochs=0", "--set epochs=0: epochs must be at least 1, but got 0."),
        ("splits=0", "--set splits=0: splits must be at least 1, but got 0."),
        (
            "epochs=[1]",
            "--set epochs=[1]: epochs must be one value in [settings], but got a list; lists are "
            "crossed in [[grid]].",
        ),
        (
            "loss=bse",
            "--set loss=bse: loss must be one of bce, ranking, asl, but got 'bse'; did you mean "
            "'bce'?",
        ),
        (
            "loss=ranking",
            "--set loss=ranking: loss 'ranking' with bias 'learned': A bias is not learned by the "
            "ranking loss, in which it cancels, but got loss 'ranking' with bias 'learned'; choose "
            "another bias rule.",
        ),
    ],
)
def test_bad_sets(load, word, text):
    with pytest.raises(BadConfig) as error:
        load("[[grid]]\nregularizer = ['none', 'ccr']\nbias = ['prior', 'learned']\n", [word])
    assert str(error.value) == text


def test_bad_files(tmp_path, load):
    with pytest.raises(BadConfig) as error:
        load_grid("lamda")
    assert str(error.value) == (
        "A grid must be a TOML file or the name of a ready one, but 'lamda' is neither; did you "
        "mean 'lambda'?"
    )
    with pytest.raises(BadConfig) as error:
        load("splits = 2\nbias = prior\n")
    assert str(error.value) == (
        "g.toml must be a TOML file, but is not (Invalid value (at line 2, column 8))."
    )
    (tmp_path / "g.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig, match="^A grid must be a TOML file, but g.toml is not"):
        load_grid("g.toml")
    with pytest.raises(BadConfig, match="is neither; known are|is neither; did you mean"):
        load_grid(str(tmp_path))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_of_any_writing(newline):
    text = newline.join(
        [
            "# a = 1",
            "a = 1  # b = 2",
            'b = """',
            "[c]",
            'd = 1"""',
            "c.d = [",
            "  [1, 2],",
            "  # 3,",
            "  [3],",
            "] # the end",
            "",
            "e = {f = 10, g = [1.5]}",
            "[[h]]",
            "i = 1",
            "[[h]]",
            "",
            "i = 2",
            '"j k" = 3',
        ]
    )
    toml = parse_located("t.toml", text)
    assert toml.line("a") == 2
    assert toml.line("b") == 3
    assert toml.line("c") == toml.line("c", "d") == toml.line("c", "d", value=7) == 6
    assert toml.line("c", "d", value=2) == 7
    assert toml.line("e", "f") == toml.line("e", "g", value=1.5) == 12
    assert [toml.line("h", n) for n in (0, 1)] == [13, 15]
    assert [toml.line("h", n, "i") for n in (0, 1)] == [14, 17]
    assert toml.line("h", 1, "j k") == 18
    assert str(toml.error("no.", "h", 1, "i")) == "t.toml, line 17: no."


@given(st.permutations(range(6)), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_lines_whatever_stands_around(order, blanks):
    lines = []
    for n, blank in zip(order, blanks, strict=True):
        lines += ["# key0 = key1"] * blank + [f"key{n} = [", f"  {n + 10},", "]"]
    toml = parse_located("t.toml", "\n".join(lines))
    for n in order:
        assert lines[toml.line(f"key{n}") - 1] == f"key{n} = ["
        assert lines[toml.line(f"key{n}", value=n + 10) - 1] == f"  {n + 10},"


def test_run_names():
    config = FinetuneConfig(framework="cocoop", regularizer="ccr")
    name = run_name(config)
    assert name.startswith("cocoop-bce+ccr-")
    assert len(name) == len("cocoop-bce+ccr-") + 8
    assert set(name[-8:]) <= set("0123456789abcdef")
    assert run_name(config.replace(seed=9)) == name
    assert run_name(config_from_dict({"regularizer": "ccr", "lambda": 10})) == run_name(
        FinetuneConfig(regularizer="ccr", lambda_=10.0)
    )


def test_run_names_tell_every_setting_apart():
    other = {"class_split": "first-half", "generator": "", "images_from": "", "captions": ""}
    base, named = FinetuneConfig(), set()
    changed = [base]
    for name, kind in grids.KINDS.items():
        if name in {"seed", "synonyms", *other}:
            continue
        value = getattr(base, name)
        if name in CHOICES:
            value = next(word for word in CHOICES[name] if word != value)
        else:
            value = {
                int: lambda v: v + 1,
                float: lambda v: v + 0.5,
                str: lambda v: f"{v} more",
                bool: lambda v: not v,
                tuple: lambda v: (*v, "dog"),
            }[kind](value)
        drawn = {"shots": 0} if name == "examples" else {}
        changed.append(base.replace(**{name: value}, **drawn))
    named = {run_name(config) for config in changed}
    assert len(named) == len(changed) == len(grids.KINDS) - 5


@pytest.mark.parametrize("name", READY)
def test_ready_grids(name):
    grid = load_grid(name)
    assert len(set(grid.runs)) == len(grid.runs)
    splits = {1} if name == "rates" else {1, 2, 3, 4, 5}  # rates are chosen on the first
    assert {config.seed for config in grid.runs} == splits
    assert {config.data for config in grid.runs} == {"scenes"}
    assert len({(run_name(c), c.seed) for c in grid.runs}) == len(grid.runs)
    assert grid.text.startswith("# ")
    assert "?" in grid.text.split("splits")[0]  # the question it answers
    for config in grid.runs:
        if config.regularizer == "dor":  # needs a learned context
            assert hasattr(FRAMEWORKS[config.framework], "encode_names")
        if config.regularizer == "ccr":
            assert config.batch_size > 1 or not CENTRED[config.estimator]
    assert any(c.bias == "learned" and c.regularizer == "none" for c in grid.runs)


def test_the_frameworks_have_the_rates_that_were_tried():
    def kinds(name):
        return {config.replace(seed=1) for config in load_grid(name).runs}

    learned_bias = {c for c in kinds("frameworks") if c.name == "bce (learned bias)"}
    assert kinds("frameworks") - learned_bias <= kinds("rates")


def test_ready_grids_are_the_folder():
    assert {path.stem for path in READY_FOLDER.iterdir()} == set(READY)


def test_ready_grids_vary_what_they_say():
    found = {name: load_grid(name) for name in READY}
    of = {name: {(c.framework, c.regularizer) for c in g.runs} for name, g in found.items()}
    pairs = set(itertools.product(FRAMEWORKS, ("none", "dor", "ccr")))
    assert pairs - of["frameworks"] == {("clip_adapter", "dor")}

    def taken(name, field, regularizer="ccr"):
        return {getattr(c, field) for c in found[name].runs if c.regularizer == regularizer}

    assert taken("lambda", "lambda_") == {0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000}
    for regularizer in ("none", "ccr"):
        assert taken("batch-size", "batch_size", regularizer) == {8, 16, 32, 64, 128}
        assert taken("few-shot", "shots", regularizer) == {1, 2, 4, 8, 16}
        assert taken("steps", "epochs", regularizer) == {1, 3, 10, 30, 100}
        assert taken("calibrators", "bias", regularizer) == {"none", "mean", "prior", "learned"}
    assert taken("estimators", "estimator") == set(CHOICES["estimator"])
    assert taken("base-to-new", "class_split") == {"first-half"}
    styles = {spec.partition(":")[2] or STYLES[0] for spec in found["styles"].data}
    assert styles == set(STYLES) - {"openmoji"}  # which is an extra
