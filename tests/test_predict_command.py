"""``ccr-diag predict``: ours and public checkpoints → files that the other commands read."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from test_public_checkpoints import (
    WIDTH,
    cocoop,
    coop,
    dassl,
    dualcoop,
    plain_text,
    tai_dpt,
    vectors,
    words,
)
from test_torch_files import Call, save

from ccr_diag.data import load_dataset
from ccr_diag.features import image_features, local_features
from ccr_diag.readers import read_predictions
from ccr_diag.readers.own import load_predictions
from ccr_diag.runs import DONE

ARRAYS = ("values", "labels", "class_counts", "proximity")
FIELDS = ("class_names", "groups", "map", "image_ids", "provenance", "kind")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_clip, drawn_data):
    """A run of one split, and one of two."""
    from click.testing import CliRunner

    from ccr_diag.cli.main import cli

    root = tmp_path_factory.mktemp("runs")
    own = ["--model", tiny_clip, "--data", drawn_data, "--new-class", "grey square"]
    own += ["--shots", "4", "--epochs", "1", "--device", "cpu"]
    for name, flags in {
        "one": ["--learning-rate", "0.5"],
        "two": ["--splits", "2"],
        "cocoop": ["--framework", "cocoop"],
        "dualcoop": ["--framework", "dualcoop", "--n-context", "2"],
    }.items():
        done = CliRunner().invoke(cli, ["finetune", *own, *flags, "-o", str(root / name)])
        assert done.exit_code == 0, done.output
    return root


@pytest.fixture
def images(tiny_backbone, drawn_data):
    """The test images' features and labels."""
    test = load_dataset(drawn_data, "test")
    return image_features(tiny_backbone, test), test


@pytest.fixture
def public(tiny_clip, drawn_data):
    """What is stated of a public file."""
    return ["--model", tiny_clip, "--data", drawn_data, "--device", "cpu"]


def assert_same(one, other):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in FIELDS:
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("run", ["one", "cocoop", "dualcoop"])
@pytest.mark.parametrize("rule", [None, "prior"])
def test_a_run_gives_the_file_that_its_analysis_leaves(ccr, runs, tmp_path, run, rule):
    flags = [] if rule is None else ["--bias", rule]
    ccr("analyze", "checkpoint", runs / run, *flags, "--bootstrap", 0, "-o", tmp_path / "a")
    for given in (runs / run, runs / run / "split-1"):
        result = ccr("predict", given, *flags, "-o", tmp_path / "p.npz", "--overwrite")
        assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "Written: " in result.stderr
    assert "24 images, 4 classes" in result.stderr
    ours = load_predictions(tmp_path / "p.npz")
    (left,) = (
        path
        for path in (tmp_path / "a" / "predictions").iterdir()
        if not path.name.startswith("zero-shot")
    )
    assert_same(ours, load_predictions(left))
    assert ours.map.rule == (rule or "none")
    assert ours.groups[ours.class_names.index("grey square")] == "new"


def test_another_split_and_one_file_of_a_run(ccr, runs, tmp_path):
    file = runs / "two" / "split-2" / "checkpoint.safetensors"
    assert ccr("predict", file, "--split", "train", "-o", tmp_path / "p.npz").exit_code == 0
    found = load_predictions(tmp_path / "p.npz")
    assert found.values.shape == (48, 4)
    assert found.provenance["split"] == "train"
    assert found.provenance["split_number"] == 2


def test_a_public_file_gives_predictions_that_the_other_commands_read(
    ccr, public, runs, tmp_path, images, tiny_backbone
):
    features, test = images
    path = coop(tmp_path / "model.pth.tar-50")
    result = ccr("predict", path, *public, "-o", tmp_path / "coop.npz")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "Note: through this map the probabilities average" in result.stderr
    found = load_predictions(tmp_path / "coop.npz")
    texts = plain_text(tiny_backbone, test.class_names, vectors(4, WIDTH).half().float())
    np.testing.assert_allclose(found.values, (features @ texts.T).numpy(), atol=1e-6)
    np.testing.assert_array_equal(found.labels, test.labels)
    assert (found.class_names, found.image_ids) == (test.class_names, test.image_ids)
    assert (found.map.scale, found.map.bias) == (pytest.approx(tiny_backbone.scale), 0.0)
    assert (found.map.rule, found.groups) == ("none", ())
    said = found.provenance
    assert said["model"] == "coop [model.pth.tar-50]"
    assert said["backbone"]["fingerprint"] == tiny_backbone.fingerprint
    assert said["checkpoint"]["position"] == "end"
    assert found.proximity.shape == (24,)
    ccr("predict", runs / "one", "-o", tmp_path / "ours.npz")
    files = [tmp_path / "ours.npz", tmp_path / "coop.npz"]
    measured = ccr("analyze", "predictions", files[1], "--format", "json", "--bootstrap", 0)
    assert json.loads(measured.stdout)["models"][0]["metrics"]["piece_decision"]["value"] > 0
    compared = ccr("compare", *files, "--metric", "map", "--bootstrap", 5)
    assert compared.exit_code == 0, compared.output
    assert read_predictions(files[1], scale=4.0, bias=-1.0).map.scale == 4.0


def test_a_map_that_is_stated(ccr, public, tmp_path):
    layers = {"linear1.weight": (1, 16), "linear1.bias": (1,), "linear2.weight": (WIDTH, 1)}
    path = cocoop(tmp_path / "a.pt", **{key: vectors(*shape) for key, shape in layers.items()})
    flags = ["--scale", 4, "--bias", -0.5, "--position", "front"]
    result = ccr("predict", path, *public, *flags, "-o", tmp_path / "p.npz")
    assert result.exit_code == 0, result.output
    assert "images scored: 24 of 24" in result.stderr
    assert "Note" not in result.stderr
    found = load_predictions(tmp_path / "p.npz")
    assert (found.map.scale, found.map.bias, found.map.rule) == (4.0, -0.5, "given")
    assert found.provenance["map"] == dict.fromkeys(("scale", "bias"), "stated by the user")
    assert found.provenance["checkpoint"]["position"] == "front"


def test_positions_are_scored_and_the_difference_is_said(
    ccr, public, tmp_path, tiny_backbone, drawn_data
):
    path = tai_dpt(tmp_path / "a.pt")
    result = ccr("predict", path, *public, "-o", tmp_path / "p.npz")
    assert result.exit_code == 0, result.output
    assert "Note: features of a ResNet keep the positional embedding" in result.stderr
    found = load_predictions(tmp_path / "p.npz")
    assert (found.map.scale, found.map.bias, found.map.rule) == (4.0, 0.0, "none")
    assert found.provenance["differs"].startswith("features of a ResNet")
    test = load_dataset(drawn_data, "test")
    seen = local_features(tiny_backbone, test).float()
    texts, local_texts = (
        plain_text(tiny_backbone, test.class_names, vectors(4, WIDTH, seed=seed)) for seed in (0, 1)
    )
    s = seen[:, 1:] @ local_texts.T
    local = ((40 * s).softmax(dim=1) * s).sum(dim=1)
    expected = (seen[:, 0] @ texts.T + local) / 2
    np.testing.assert_allclose(found.values, expected.numpy(), atol=1e-6)
    assert found.proximity.shape == (24,)


def test_contexts_of_classes_take_their_names_from_a_file(ccr, public, tmp_path, images):
    features, test = images
    order = ["grey square", "zebra", "red square", "blue square", "green square"]
    (tmp_path / "names.txt").write_text("\n".join(order))
    path = coop(tmp_path / "a.pt", (5, 4, WIDTH))
    flags = [*public, "--class-names", tmp_path / "names.txt", "-o", tmp_path / "p.npz"]
    assert ccr("predict", path, *flags).exit_code == 0
    found = load_predictions(tmp_path / "p.npz")
    assert found.class_names == test.class_names
    context = vectors(5, 4, WIDTH).half().float()
    one = tmp_path / "one.pt"
    for column, name in enumerate(test.class_names):
        dassl(one, parameters=words(4), ctx=context[order.index(name)])
        ccr("predict", one, *public, "-o", tmp_path / "one.npz", "--overwrite")
        alone = load_predictions(tmp_path / "one.npz").values[:, column]
        np.testing.assert_allclose(found.values[:, column], alone, atol=1e-6)


@pytest.fixture(scope="module")
def files(tmp_path_factory, runs):
    """Files of every kind, by name."""
    made = tmp_path_factory.mktemp("files")
    coop(made / "coop.pt")
    coop(made / "specific.pt", (4, 4, WIDTH))
    coop(made / "wide.pt", (4, 512))
    dualcoop(made / "dual.pt")
    (made / "two.txt").write_text("red square\nblue square")
    (made / "four.txt").write_text("red square\nblue square\ngreen square\nwhite square")
    (made / "twice.txt").write_text("red square\nred square")
    (made / "garbage.pt").write_bytes(b"garbage" * 100)
    (made / "garbage.safetensors").write_bytes(b"garbage" * 100)
    return {path.name: path for path in made.iterdir()} | {p.name: p for p in runs.iterdir()}


@pytest.mark.parametrize("flag", ["--model", "--data"])
def test_what_a_public_file_does_not_say_is_asked_for(ccr, files, public, tmp_path, flag):
    at = public.index(flag)
    rest = public[:at] + public[at + 2 :]
    refuse(ccr, tmp_path, files["coop.pt"], *rest, text=f"add {flag} for {files['coop.pt']}.")


@pytest.mark.parametrize(
    ("name", "flags", "text"),
    [
        ("specific.pt", [], "a context for each of 4 classes, but not their names; add --class-n"),
        ("specific.pt", ["--class-names", "two.txt"], "(2, 4, 32) to fit the 2 classes given"),
        ("specific.pt", ["--class-names", "four.txt"], "class 'grey square' of the data is not"),
        ("specific.pt", ["--class-names", "twice.txt"], "'red square' comes twice"),
        ("specific.pt", ["--class-names", "none.txt"], "no file of class names"),
        ("coop.pt", ["--class-names", "two.txt"], "holds one for all"),
        ("coop.pt", ["--bias", "prior"], "--bias of a public file must be own or a number"),
        ("coop.pt", ["--bias", "nan"], "a finite scale above 0 and a finite bias"),
        ("coop.pt", ["--scale", "0"], "a finite scale above 0"),
        ("coop.pt", ["--scale", "x"], "Invalid value for '--scale'"),
        ("coop.pt", ["--position", "back"], "Invalid value for '--position'"),
        ("coop.pt", ["--split", "tset"], "tset"),
        ("coop.pt", ["--data", "photos"], "no known kind"),
        ("coop.pt", ["--model", "ViT-B-16"], "needs --pretrained"),
        ("coop.pt", ["--pretrained", "openai"], "brings its own weights"),
        ("wide.pt", [], "must have the shape (4, 32) to fit the text tower"),
        ("dual.pt", [], "Key ctx_neg of"),
        ("garbage.pt", [], "must be a whole file that torch.save wrote"),
        ("two.txt", [], "must be a whole file that torch.save wrote"),
        ("none.pt", [], "must be a file or a run folder, but there is no none.pt"),
        ("none.safetensors", [], "but there is no none.safetensors; check the path"),
    ],
)
def test_bad_input_of_public_files(ccr, files, public, tmp_path, name, flags, text, monkeypatch):
    monkeypatch.chdir(files["two.txt"].parent)
    refuse(ccr, tmp_path, files.get(name, name), *public, *flags, text=text)


@pytest.mark.parametrize(
    ("name", "flags", "text"),
    [
        ("two", [], "the predictions of one split, but"),
        ("one", ["--bias", "piror"], "'piror' is neither one of own, none, model"),
        ("one", ["--bias", "-3"], "--bias of a run must be one of own, none"),
        ("one", ["--bias", "model"], "The bias rule must be 'own' or one that the run recorded"),
        ("one", ["--scale", "4"], "--scale is stated of a public file, but"),
        ("one", ["--class-names", "two.txt"], "--class-names is stated of a public file"),
        ("one", ["--position", "end"], "--position is stated of a public file"),
        ("one", ["--pretrained", "x"], "--pretrained is stated of a public file"),
        ("one", ["--data", "scenes"], "must have the 4 classes of the run, by the same names"),
        ("one", ["--device", "tpu"], "The device must be auto"),
        ("garbage.safetensors", [], "must be a whole safetensors file"),
        ("no run", [], "a run folder that holds checkpoint.safetensors"),
    ],
)
def test_bad_input_of_runs(ccr, files, tmp_path, name, flags, text, monkeypatch):
    monkeypatch.chdir(files["two.txt"].parent)
    refuse(ccr, tmp_path, files.get(name, tmp_path), *flags, text=text)


def refuse(ccr, tmp_path, *args, text):
    """One sentence, exit 2, and nothing written."""
    out = tmp_path / "out" / "p.npz"
    result = ccr("predict", *args, "-o", out)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert text in errors[0]
    assert "Traceback" not in result.output
    assert not out.parent.exists()


def test_an_unfinished_run_is_refused(ccr, runs, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    source = runs / "one" / "split-1"
    (folder / "checkpoint.safetensors").write_bytes(
        (source / "checkpoint.safetensors").read_bytes()
    )
    refuse(ccr, tmp_path, folder, text="Only a finished run can be analysed")
    (folder / DONE).touch()
    assert ccr("predict", folder, "-o", tmp_path / "p.npz").exit_code == 0


def test_nothing_in_a_malicious_file_runs(ccr, public, tmp_path):
    sentinel = tmp_path / "was here"
    call = Call(os.system, f"touch '{sentinel}'")
    save(call, tmp_path / "bad.pt")
    refuse(ccr, tmp_path, tmp_path / "bad.pt", *public, text="which is not run")
    save({"state_dict": {"ctx": vectors(4, WIDTH)}, "epoch": call}, tmp_path / "mixed.pt")
    result = ccr("predict", tmp_path / "mixed.pt", *public, "-o", tmp_path / "p.npz")
    assert result.exit_code == 0, result.output
    assert load_predictions(tmp_path / "p.npz").provenance["checkpoint"]["facts"] == {}
    assert not sentinel.exists()


def test_a_file_is_replaced_only_when_asked_to(ccr, runs, public, tmp_path):
    out = tmp_path / "p.npz"
    out.write_text("mine")
    result = ccr("predict", runs / "one", "-o", out)
    assert (result.exit_code, out.read_text()) == (2, "mine")
    assert "add --overwrite to replace it" in result.stderr
    assert ccr("predict", runs / "one", "-o", out, "--overwrite").exit_code == 0
    assert load_predictions(out).values.shape == (24, 4)
    for wrong in ("-", tmp_path / "p.csv", tmp_path / "p"):
        result = ccr("predict", runs / "one", "-o", wrong)
        assert result.exit_code == 2
        assert "The output must be a file named ….npz" in result.stderr
    source = coop(tmp_path / "model.npz")
    before = source.read_bytes()
    result = ccr("predict", source, *public, "-o", source, "--overwrite")
    assert (result.exit_code, source.read_bytes()) == (2, before)


def test_a_full_disk_leaves_the_old_file(ccr, runs, tmp_path, monkeypatch):
    out = tmp_path / "p.npz"
    out.write_text("mine")
    ccr("predict", runs / "one", "-o", tmp_path / "first.npz")  # the features are now cached

    def full(file, **content):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numpy.savez", full)
    result = ccr("predict", runs / "one", "-o", out, "--overwrite")
    assert result.exit_code == 1
    assert f"there is none left for {out}" in result.stderr
    assert "Traceback" not in result.output
    assert out.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"p.npz", "first.npz"}


def test_one_image_has_no_neighbours(ccr, public, tmp_path, drawn_data):
    source = Path(drawn_data.removeprefix("manifest:"))
    lines = source.read_text().splitlines()
    kept = [line.replace(",train", ",one", 1) if i == 1 else line for i, line in enumerate(lines)]
    single = source.with_name("single.csv")
    single.write_text("\n".join(kept))
    path = coop(tmp_path / "a.pt")
    flags = ["--data", f"manifest:{single}", "--split", "one", "-o", tmp_path / "p.npz"]
    result = ccr("predict", path, *public, *flags)
    assert result.exit_code == 0, result.output
    found = load_predictions(tmp_path / "p.npz")
    assert found.values.shape == (1, 4)
    assert found.proximity is None
    assert torch.from_numpy(found.values).isfinite().all()


def test_public_files_are_analysed_beside_zero_shot(ccr, public, tmp_path, tiny_backbone):
    (tmp_path / "x").mkdir()
    files = [coop(tmp_path / "a.pt"), coop(tmp_path / "x" / "a.pt"), tai_dpt(tmp_path / "t.pt")]
    out, flags = tmp_path / "analysis", ["--bootstrap", 10, "--format", "json"]
    result = ccr("analyze", "checkpoint", *files, *public, *flags, "-o", out)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    names = [model["name"] for model in found["models"]]
    assert names == [
        "zero-shot",
        *(f"coop [a.pt] [{path}]" for path in files[:2]),
        "tai_dpt [t.pt]",
    ]
    scales = [model["map"]["scale"] for model in found["models"]]
    assert scales == pytest.approx([tiny_backbone.scale] * 3 + [4.0])
    zero_shot, first, second, last = (model["geometry"]["summary"] for model in found["models"])
    assert zero_shot["NP@5"]["value"] == 1
    assert first == second != zero_shot
    assert {model["splits"][0]["split"] for model in found["models"]} == {0}
    made = sorted((out / "predictions").iterdir())
    assert len(made) == 4
    ccr("predict", files[2], *public, "-o", tmp_path / "p.npz")
    assert_same(load_predictions(made[-2]), load_predictions(tmp_path / "p.npz"))
    assert ccr("figures", out, "--format", "png").exit_code == 0


@pytest.mark.parametrize(
    ("names", "flags", "text"),
    [
        (["one", "coop.pt"], [], "Runs and public files are analysed apart"),
        (["coop.pt", "specific.pt"], [], "a context for each of 4 classes, but not their names"),
        (["coop.pt"], ["--bias", "mean"], "--bias of a public file must be own or a number"),
        (["coop.pt"], ["--model"], "add --model for"),
        (["one"], ["--scale", "4"], "--scale is stated of a public file, but"),
        (["one"], ["--bias", "2"], "--bias of a run must be one of own, none"),
        (["garbage.pt"], [], "must be a whole file that torch.save wrote"),
    ],
)
def test_bad_input_of_analyses(ccr, files, public, tmp_path, names, flags, text):
    given = [] if names == ["one"] else public
    given, flags = (given[2:], []) if flags == ["--model"] else (given, flags)
    out = tmp_path / "out"
    result = ccr("analyze", "checkpoint", *(files[n] for n in names), *given, *flags, "-o", out)
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert not out.exists()
