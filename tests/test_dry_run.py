"""``--dry-run``: every command says what it would do, and does nothing."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_config_file import EVERY

from ccr_diag import backbone
from ccr_diag.errors import BadConfig
from ccr_diag.plan import backbone_lines, duration, size
from ccr_diag.pretrained import known_before
from ccr_diag.rates import record_rate
from ccr_diag.readers import read_predictions
from ccr_diag.readers.sizes import size_of_predictions

OWN = ("--shots", 4, "--epochs", 2, "--batch-size", 8, "--device", "cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_clip, drawn_data):
    """A folder with a file of each kind that a command reads."""
    from click.testing import CliRunner

    from ccr_diag.cli.main import cli

    folder = tmp_path_factory.mktemp("made")

    def ccr(*words):
        result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="ccr-diag")
        assert result.exit_code == 0, result.output

    ccr("finetune", "--model", tiny_clip, "--data", drawn_data, *OWN, "-o", folder / "run")
    ccr("predict", folder / "run", "-o", folder / "a.npz", "--device", "cpu")
    ccr("analyze", "predictions", folder / "a.npz", "--format", "json", "--bootstrap", 0,
        "-o", folder / "results.json")  # fmt: skip
    found = read_predictions(folder / "a.npz")
    found.save(folder / "b.npz")
    rng = np.random.default_rng(0)
    np.savez(folder / "texts.npz", embeddings=rng.normal(size=(4, 6)), class_names=list("abcd"))
    np.save(folder / "probs.npy", found.probabilities)
    np.save(folder / "labels.npy", found.labels)
    (folder / "long.csv").write_text("image,class,label,prob\ni,a,1,0.5\nj,a,0,0.2\n")
    (folder / "grid.toml").write_text(
        f"splits = 2\n[settings]\ndata = {json.dumps(drawn_data)}\nmodel = {json.dumps(tiny_clip)}"
        "\n[[grid]]\nepochs = [1, 2]\n[test]\nsplit = 'test'\n"
    )
    return folder


# Words of a command → what it is given, and what its plan then says.
CALLS = {
    ("finetune",): (
        ["--model", "{clip}", "--data", "{data}", *OWN, "--splits", 2],
        ["split train: 48 images, 4 classes", "Groups: ", "Examples: ", "Memory: ", "Time: ",
         "Writes: run/split-1, run/split-2"],
    ),
    ("data", "check"): (["{data}"], ["split train: 48 images", "Writes: to the terminal"]),
    ("data", "convert"): (
        ["{data}", "-o", "all.parquet"], ["split train: 48 images", "all.parquet"],
    ),
    ("data", "split"): (["{data}", "--shots", 2, "-o", "lists"], ["lists"]),
    ("embed",): (
        ["--data", "{data}", "--model", "{clip}"],
        ["split train: 48 images, 4 classes", "Time: ", "Writes: "],
    ),
    ("doctor",): ([], ["Reads: "]),
    ("sweep",): (
        ["{made}/grid.toml"],
        ["4 runs: 2 settings, splits 1, 2", "split train: 48 images", "split test: 24 images",
         "Writes: sweep"],
    ),
    ("predict",): (
        ["{made}/run/split-1", "-o", "p.npz"],
        ["checkpoint.safetensors, ", "split test: 24 images, 4 classes", "Writes: p.npz"],
    ),
    ("analyze", "checkpoint"): (
        ["{made}/run"],
        ["checkpoint.safetensors, ", "split test: 24 images, 4 classes", "Writes: analysis"],
    ),
    ("analyze", "predictions"): (
        ["{made}/a.npz", "{made}/b.npz", "--report", "r.html"],
        ["a.npz, ", "24 images, 4 classes", "Memory: 960 bytes", "Writes: to the terminal",
         "Report: r.html"],
    ),
    ("analyze", "embeddings"): (
        ["{made}/texts.npz", "{made}/texts.npz"], ["4 embeddings of 6 numbers"],
    ),
    ("analyze", "correlation"): (["{made}/a.npz", "-o", "c.txt"], ["a.npz, ", "Writes: c.txt"]),
    ("compare",): (
        ["{made}/probs.npy", "{made}/long.csv", "--labels", "{made}/labels.npy", "--report",
         "r.html"],
        ["probs.npy, ", "24 images, 4 classes", "long.csv, 43 bytes\n", "labels.npy, ",
         "Memory: not known", "Report: r.html"],
    ),
    ("calibrate",): (
        ["{made}/a.npz", "--method", "platt", "--on", "{made}/b.npz", "-o", "c.npz"],
        ["a.npz, ", "b.npz, ", "Memory: 960 bytes", "Writes: c.npz"],
    ),
    ("figures",): (
        ["{made}/results.json", "-o", "pictures"],
        ["results.json, 1 models", "Writes: pictures/*.{{pdf,svg,png,csv}}, tables/"],
    ),
    ("demo",): (
        [], ["split train: 3,000 images", "bce+ccr, ", "3 splits each", "Writes: ccr-diag-demo"],
    ),
}  # fmt: skip


@pytest.fixture
def call(made, tiny_clip, drawn_data):
    """The words of a command, with the places of this machine."""

    def words(command):
        places = {"made": made, "clip": tiny_clip, "data": drawn_data}
        return [*command, *(str(word).format(**places) for word in CALLS[command][0])]

    return words


def files_of(*folders):
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


def test_every_command_is_tried():
    assert set(CALLS) == {words for words, _ in EVERY}


@pytest.mark.parametrize("command", CALLS, ids=" ".join)
def test_a_plan_is_shown_and_nothing_is_done(ccr, call, made, tmp_path, monkeypatch, command):
    def load(*args, **options):
        raise AssertionError("weights were loaded")

    for module in (backbone, *_that_load()):
        monkeypatch.setattr(module, "load_backbone", load)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCR_DIAG_CACHE", str(tmp_path / "cache"))
    before = files_of(tmp_path, made)
    result = ccr(*call(command), "--dry-run")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    for text in CALLS[command][1]:
        assert text.replace("{{", "{").replace("}}", "}") in result.stdout
    assert files_of(tmp_path, made) == before


def _that_load():
    """Modules that have taken the door to weights by name."""
    import sys

    return [m for m in list(sys.modules.values()) if hasattr(m, "load_backbone")]


def test_what_is_planned_is_what_comes(made, ccr, call):
    said = ccr(*call(("finetune",)), "--dry-run").stdout
    n, steps = map(int, re.search(r"Examples: (\d+) images .*; (\d+) steps", said).groups())
    examples = (made / "run" / "split-1" / "examples.txt").read_text().splitlines()
    assert n == len(examples)
    assert steps == 2 * -(-n // 8)
    assert 2 * n < 48
    assert f" for {2 * n} images, unless" in said  # of two splits
    labels = [int(count) for count in re.findall(r"(\d+) (?:present|absent|unknown)", said)]
    assert sum(labels) == 48 * 4


BAD = [
    ("finetune", ["--data", "manifest:none.csv"]),
    ("finetune", ["--lambda", -1]),
    ("finetune", ["-o", "full"]),
    ("finetune", ["--data", "{data}", "--new-class", "dgo"]),
    ("sweep", ["none"]),
    ("sweep", ["{made}/grid.toml", "-o", "full"]),
    ("predict", ["none", "-o", "p.npz"]),
    ("predict", ["{made}/run", "-o", "p.txt"]),
    ("predict", ["{made}/run", "-o", "p.npz", "--split", "tset"]),
    ("predict", ["{made}/run", "-o", "p.npz", "--model", "ViT-B-16"]),
    ("analyze checkpoint", ["{made}/run", "{made}/long.csv"]),
    ("analyze checkpoint", ["{made}/run", "-o", "full"]),
    ("analyze checkpoint", ["{made}/long.csv"]),
    ("analyze predictions", ["none.npz"]),
    ("analyze predictions", ["empty.npz"]),
    ("analyze predictions", ["a.pkl"]),
    ("analyze predictions", ["a.txt"]),
    ("analyze predictions", ["{made}/a.npz", "-o", "a.txt"]),
    ("analyze correlation", ["none.npz"]),
    ("analyze embeddings", ["none.npz", "{made}/texts.npz"]),
    ("compare", ["{made}/a.npz", "none.csv"]),
    ("calibrate", ["{made}/a.npz", "--method", "platt", "-o", "c.npz"]),
    ("calibrate", ["{made}/a.npz", "--method", "dac", "--scope", "group", "-o", "c.npz"]),
    ("figures", ["none.json"]),
    ("predict", ["{made}/run", "-o", "p.npz", "--device", "nowhere"]),
    ("embed", ["--data", "manifest:none.csv"]),
    ("embed", ["--data", "{data}", "--model", "VIT"]),
    ("embed", ["--data", "{data}", "--model", "ViT-B-16"]),
    ("demo", ["-o", "full"]),
    ("data check", ["manifest:undeclared.csv"]),
    ("data convert", ["manifest:undeclared.csv", "-o", "m.parquet"]),
]


@pytest.mark.parametrize(("words", "args"), BAD, ids=lambda part: str(part))
def test_bad_input_is_the_same_error(
    ccr, made, drawn_data, tiny_clip, tmp_path, monkeypatch, words, args
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    for name in ("full/mine.txt", "empty.npz", "a.txt"):
        (tmp_path / name).write_text("" if "empty" in name else "mine")
    (tmp_path / "undeclared.csv").write_text("image,labels\na.png,cat\n")
    args = [str(word).format(made=made, data=drawn_data) for word in args]
    args += (
        ["--model", tiny_clip] if words in ("finetune", "embed") and "--model" not in args else []
    )
    before = files_of(tmp_path, made)
    said = [ccr(*words.split(), *args, *dry) for dry in ([], ["--dry-run"])]
    assert [result.exit_code for result in said] == [2, 2], said[1].output
    assert said[1].stderr == said[0].stderr
    assert said[1].stdout == ""
    assert files_of(tmp_path, made) == before


def test_a_file_beside_the_predictions_must_be_there(ccr, made):
    result = ccr("analyze", "predictions", made / "probs.npy", "--labels", "no.npy", "--dry-run")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "There is no file at no.npy" in result.stderr


def test_captions_are_not_counted_before_they_are_read(ccr, tiny_clip, drawn_data):
    flags = ("--framework", "tai_dpt", "--model", tiny_clip, "--data", drawn_data)
    result = ccr("finetune", *flags, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Examples: captions; how many is known once they are read" in result.stdout


def test_features_of_positions_are_announced_where_there_will_be_any(ccr, tiny_clip, drawn_data):
    asked = ["finetune", "--model", tiny_clip, "--data", drawn_data, "--dry-run"]
    said = [ccr(*asked, "--framework", name).stdout for name in ("coop", "dualcoop")]
    assert ["features of positions" in text for text in said] == [False, True]
    asked[0] = "embed"
    said = [ccr(*asked, *flags).stdout for flags in ([], ["--local"])]
    assert ["features of positions" in text for text in said] == [False, True]


def test_what_is_known_of_a_model_before_its_weights_are_read(tiny_clip, tmp_path):
    folder = Path(tiny_clip.removeprefix("local-dir:"))
    assert known_before(tiny_clip, None) == (16, folder / "open_clip_model.safetensors")
    emoji = backbone.load_backbone(device="cpu")
    dim = emoji.encode_text(emoji.tokenize(["a"])).shape[1]
    assert known_before(f"local-dir:{backbone.MODEL_DIR}", None)[0] == dim
    assert known_before("ViT-B-16", "openai") == (512, None)
    assert known_before("RN50", "cc12m") == (1024, None)
    assert known_before("hf-hub:nobody/nothing", None) == (None, None)
    for model, tag in (("VIT", None), ("ViT-B-16", "opnai"), (f"local-dir:{tmp_path}", None)):
        with pytest.raises(BadConfig):
            known_before(model, tag)


def test_time_is_told_where_a_rate_is_known(tiny_clip, tmp_path, monkeypatch):
    monkeypatch.setenv("CCR_DIAG_CACHE", str(tmp_path))
    model, memory, time = backbone_lines(tiny_clip, 1200, 4, "cpu")
    weights = Path(tiny_clip.removeprefix("local-dir:")) / "open_clip_model.safetensors"
    assert f"; weights of {size(weights.stat().st_size)} are not loaded" in model
    assert (
        memory == f"Memory: {size(1200 * (16 * 4 + 4 * 5))} for features, scores and labels; "
        "the model and its work on a batch come on top"
    )
    assert time.startswith("Time: not known for 1,200 images")
    record_rate(tiny_clip, "cpu", "fp32", 10.0)
    assert [*backbone_lines(tiny_clip, 1200, 4, "cpu")][2].startswith(
        "Time: 2 min at 10 images a second for 1,200 images"
    )
    assert "not known" in [*backbone_lines(tiny_clip, 1200, 4, "cpu", None, "amp_bf16")][2]
    record_rate("RN50:cc12m", "cpu", "fp32", 10.0)
    assert "Time: 40 s" in [*backbone_lines("RN50", 400, 4, "cpu", "cc12m")][2]
    *_, memory, time = backbone_lines("hf-hub:nobody/nothing", 1, 1, "cpu")
    assert memory == "Memory: not known before the weights are there"
    assert [duration(float(s)) for s in (0, 89, 90, 5399, 5400, 9000)] == [
        "0 s", "89 s", "2 min", "90 min", "1.5 h", "2.5 h",
    ]  # fmt: skip


def test_sizes_of_files(made):
    for name in ("a.npz", "probs.npy"):
        assert size_of_predictions(made / name) == (24, 4)
    assert size_of_predictions(made / "long.csv") is None
    assert [size(n) for n in (0, 1023, 1024, 1536, 2**20, 5 * 2**30, 2**41)] == [
        "0 bytes", "1,023 bytes", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "2,048.0 GiB",
    ]  # fmt: skip
