"""``ccr-diag calibrate`` from two files to a third, and a table of before and after."""

import csv
import io
import json

import numpy as np
import pytest
from scipy.special import expit

from ccr_diag import calibrating
from ccr_diag.calibrating import Choice, TextPair, calibrate, cross_calibrate
from ccr_diag.cli import calibrate as command
from ccr_diag.compared_models import load_runs
from ccr_diag.measuring import results_of, with_proximity
from ccr_diag.predict import tuned_space
from ccr_diag.prompts import zero_shot_embeddings
from ccr_diag.readers import read_predictions

NAMES = np.array([f"class {c}" for c in "abcdef"])
GROUPS = np.array(["head", "head", "tail", "tail", "new", "new"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Logits of test and calibration images, and class embeddings before and after tuning."""
    folder = tmp_path_factory.mktemp("calibrate")
    rng = np.random.default_rng(0)
    for name, images in {"test": 90, "calibration": 150}.items():
        z = rng.normal(-1, 1, size=(images, 6))
        np.savez(
            folder / f"{name}.npz", logits=3 * z + 2, class_names=NAMES, groups=GROUPS,
            labels=(rng.uniform(size=z.shape) < expit(z)).astype(np.int8),
            image_ids=np.array([f"{name} {i}" for i in range(images)]),
        )  # fmt: skip
    before, after = rng.normal(size=(2, 6, 8))
    order = [3, 1, 0, 2, 5, 4]
    np.savez(folder / "before.npz", embeddings=before, class_names=NAMES)
    np.savez(folder / "after.npz", embeddings=after[order], class_names=NAMES[order])
    np.save(folder / "before.npy", before)
    np.save(folder / "after.npy", after)
    return folder


@pytest.fixture
def call(ccr, folder, tmp_path, monkeypatch):
    """``calibrate test.npz`` in the folder of the files, with few replicates."""
    monkeypatch.chdir(folder)

    def run(*args, boot=0):
        out = [] if "-o" in args else ["-o", tmp_path / "out.npz"]
        return ccr("calibrate", "test.npz", "--bootstrap", boot, *out, *args)

    return run


def both(folder):
    return [read_predictions(folder / f"{name}.npz") for name in ("test", "calibration")]


def test_the_choices_are_what_the_library_offers():
    """They are written out in the command, which imports nothing heavy for its help."""
    assert calibrating.CHOICES == command.CHOICES


def test_a_file_and_a_table_are_what_the_library_makes(call, folder, tmp_path):
    result = call(
        "--method", "platt", "--scope", "group", "--unseen", "shared", "--strength", 2, "--on",
        "calibration.npz", "--format", "json", "--bins", 9, "--seed", 3, boot=2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    test, calibration = both(folder)
    assert result.stderr.splitlines()[-4:] == [
        "Note: Fitted on 150 images: 600 known labels, "
        f"{calibration.labels[:, :4].sum()} of them positive.",
        "Note: The map of each group is drawn to the shared one, strength 2.",
        "Note: 2 classes are new or have no known label ('class e', 'class f'): they took no part "
        "in the fit and take the shared map.",
        f"Written: {tmp_path / 'out.npz'}",
    ]
    expected = calibrate(test, calibration, Choice("platt", "group", "shared", strength=2.0))
    found = read_predictions(tmp_path / "out.npz")
    assert np.array_equal(found.values, expected.values)
    assert found.provenance["model"] == "test + platt, by group"
    assert found.provenance["calibrator"]["fitted_on"]["file"] == "calibration.npz"
    content = json.loads(result.stdout)
    options = {"n_bins": 9, "n_bootstrap": 2, "seed": 3}
    wanted = json.loads(json.dumps(results_of([test, expected], **options)))
    for model in [*content["models"], *wanted["models"]]:
        del model["provenance"]  # of files, here alone
    assert content["models"] == wanted["models"]


def test_before_and_after_for_people(call):
    result = call("--method", "temperature_bias", "--cross-fit", "--folds", 3, boot=2)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["test", "test", "+", "temperature_bias"]
    assert lines[3].startswith("ECE, positive")
    assert lines[3].count("[") == 2
    at = lines.index("ECE, positive, by group (lower is better), × 100")
    assert [line.split()[0] for line in lines[at + 3 : at + 7]] == ["base", "head", "tail", "new"]


def test_a_scope_that_the_data_do_not_bear_is_said(call):
    result = call(
        "--method", "bias", "--scope", "class", "--unseen", "shared", "--strength", "inf", *ON
    )
    assert "Note: The strength is inf: each class takes the shared map.\n" in result.stderr


def test_groups_of_the_calibration_file_hold_before_as_well(ccr, folder, tmp_path):
    bare = {key: value for key, value in np.load(folder / "test.npz").items() if key != "groups"}
    np.savez(tmp_path / "bare.npz", **bare)
    on = ["--on", folder / "calibration.npz", "-o", tmp_path / "out.npz", "--bootstrap", 0]
    result = ccr("calibrate", tmp_path / "bare.npz", "--method", "bias", *on, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    for model in ("bare", "bare + bias"):
        assert "new" in {row["group"] for row in rows if row["model"] == model}


def test_cross_fitting_needs_one_file(call, folder, tmp_path):
    flags = ["--method", "isotonic", "--scope", "class", "--unseen", "keep", "--strength", 8]
    result = call(*flags, "--cross-fit", "--folds", 4, "--fold-seed", 9, "--format", "csv")
    assert result.exit_code == 0, result.output
    assert "Fitted on the other folds of 90 images: 360 known labels" in result.stderr
    assert "('class e', 'class f'): they took no part in the fit and are left as they are.\n" in (
        result.stderr
    )
    choice = Choice("isotonic", "class", "keep", 4, 9, strength=8.0)
    found = read_predictions(tmp_path / "out.npz")
    assert np.array_equal(found.values, cross_calibrate(both(folder)[0], choice).values)
    assert found.kind == "probs"
    rows = csv.DictReader(io.StringIO(result.stdout))
    assert {row["model"] for row in rows} == {"test", "test + isotonic, by class"}


@pytest.mark.parametrize("files", [("before.npz", "after.npz"), ("before.npy", "after.npy")])
def test_dac_of_embeddings_files(call, folder, tmp_path, files):
    flags = ["--method", "dac", "--k", 3, "--zero-shot", files[0], "--tuned", files[1]]
    result = call(*flags, "--on", "calibration.npz")
    assert result.exit_code == 0, result.output
    rows = (np.load(folder / name) for name in ("before.npy", "after.npy"))
    expected = calibrate(*both(folder), Choice("dac", k=3), TextPair(tuple(NAMES), *rows))
    assert np.array_equal(read_predictions(tmp_path / "out.npz").values, expected.values)


def test_dac_of_a_run_of_finetune(ccr, tiny_clip, tiny_backbone, drawn_data, tmp_path):
    flags = ["--model", tiny_clip, "--data", drawn_data, "--new-class", "grey square"]
    flags += ["--shots", 4, "--epochs", 1, "--learning-rate", 0.5, "--device", "cpu"]
    run = tmp_path / "run"
    assert ccr("finetune", *flags, "-o", run).exit_code == 0
    files = {split: tmp_path / f"{split}.npz" for split in ("train", "test")}
    for split, path in files.items():
        assert ccr("predict", run, "--split", split, "-o", path).exit_code == 0
    flags = ["--method", "dac", "--k", 1, "--run", run, "--on", files["train"], "--bootstrap", 0]
    result = ccr("calibrate", files["test"], *flags, "-o", tmp_path / "dac.npz")
    assert result.exit_code == 0, result.output
    (checkpoint,) = load_runs([run])[0].splits
    rows = (
        zero_shot_embeddings(tiny_backbone, checkpoint.class_names),
        tuned_space(checkpoint, tiny_backbone).embeddings,
    )
    texts = TextPair(checkpoint.class_names, *(part.numpy() for part in rows))
    test, train = (read_predictions(files[split]) for split in ("test", "train"))
    expected = calibrate(test, train, Choice("dac", k=1), texts)
    found = read_predictions(tmp_path / "dac.npz")
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert found.provenance["calibrator"]["factors"]["grey square"] != 1


def test_what_needs_no_label_needs_no_calibration_images(call, tmp_path):
    texts = ["--k", 3, "--zero-shot", "before.npz", "--tuned", "after.npz"]
    for flags in (["--method", "dac_top1"], ["--method", "dac", "--centre", "zero"]):
        result = call(*flags, *texts, "--overwrite")
        assert result.exit_code == 0, result.output
        assert "fitted_on" not in read_predictions(tmp_path / "out.npz").provenance["calibrator"]


def test_plain_arrays_with_labels_of_their_own(ccr, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    for name, p in zip(("t", "c"), both(folder), strict=True):
        np.save(folder / f"{name}.npy", expit(p.values))
        np.save(folder / f"{name}_labels.npy", p.labels)
    np.save(folder / "ends.npy", np.round(expit(both(folder)[1].values), 1))
    (folder / "groups.csv").write_text(
        "class,group\n" + "".join(f"{i},{group}\n" for i, group in enumerate(GROUPS))
    )
    flags = ["--method", "platt", "--probs", "--labels", "t_labels.npy", "--groups", "groups.csv"]
    on = ["--on-labels", "c_labels.npy", "-o", tmp_path / "plain.npz", "--bootstrap", 0]
    result = ccr("calibrate", "t.npy", *flags, "--on", "c.npy", *on)
    assert result.exit_code == 0, result.output
    expected = calibrate(*both(folder), Choice("platt"))
    found = read_predictions(tmp_path / "plain.npz")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert tuple(GROUPS) == found.groups
    result = ccr("calibrate", "t.npy", *flags, "--on", "ends.npy", *on, "--overwrite")
    assert "probabilities are 0 or 1 up to rounding; they count as" in result.stderr
    result = ccr("calibrate", "t.npy", *flags, "--on", "c.npy", *on[2:], "--overwrite")
    assert "c.npy holds values alone; name the file of their labels by --on-labels" in result.stderr


def test_features_bring_piece(call, folder, tmp_path):
    features = np.random.default_rng(1).normal(size=(90, 3))
    np.save(folder / "features.npy", features)
    flags = ["--method", "bias", "--on", "calibration.npz", "--features", "features.npy"]
    result = call(*flags, "--preset", "procal", "--format", "json")
    assert result.exit_code == 0, result.output
    for model in json.loads(result.stdout)["models"]:
        assert "piece_decision" in model["metrics"]
    (expected,) = with_proximity(both(folder)[:1], features, "procal")
    found = read_predictions(tmp_path / "out.npz")
    np.testing.assert_allclose(found.proximity, expected.proximity)


def test_output_is_a_new_file_unless_asked(call, folder, tmp_path):
    out = tmp_path / "mine.npz"
    flags = ["--method", "bias", "--on", "calibration.npz", "-o", out]
    out.write_text("mine")
    assert call(*flags).exit_code == 2
    assert out.read_text() == "mine"
    assert call(*flags, "--overwrite").exit_code == 0
    assert read_predictions(out).provenance["model"] == "test + bias"
    for name, call_flags in {
        "calibration.npz": flags[:-2],
        "before.npz": ["--method", "dac_top1", "--k", 3, *TEXTS],
        "after.npz": ["--method", "dac_top1", "--k", 3, *TEXTS],
    }.items():
        before = (folder / name).read_bytes()
        result = call(*call_flags, "-o", folder / name, "--overwrite")
        assert "is a folder or one of the inputs" in result.stderr
        assert (folder / name).read_bytes() == before


ON = ["--on", "calibration.npz"]
TEXTS = ["--zero-shot", "before.npz", "--tuned", "after.npz"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--method", "plat", *ON], "must be one of temperature, bias"),
        (["--method", "plat", *ON], "did you mean 'platt'?"),
        (ON, "Missing option '--method'"),
        (["--method", "platt"], "by --cross-fit, but got neither; give one"),
        (["--method", "platt", *ON, "--cross-fit"], "but got both; give one"),
        (["--method", "platt", "--cross-fit", "--on-labels", "y.npy"], "file --on, but that was"),
        (["--method", "platt", "--on", "none.npz"], "There is no predictions file at none.npz"),
        (["--method", "platt", "--on", "test.npz"], "holds 90 of them, the first being 'test 0'"),
        (["--method", "platt", *ON, "--unseen", "refuse"], "A calibrator can only speak about cl"),
        (["--method", "platt", *ON, "--strength", "3"], "choose a scope, or leave it out"),
        (["--method", "platt", "--on", "before.npy", "--logits"], "labels by --on-labels."),
        (["--method", "platt", *ON, "-o", "out.csv"], "must be a file named ….npz"),
        (["--method", "platt", *ON, "--probs"], "holds logits, but --probs was declared"),
        (["--method", "platt", *ON, "--scope", "class"], "platt has never seen 2 ('class e', 'cl"),
        (["--method", "platt", *ON, "--scope", "all"], "known are class, group, shared."),
        (["--method", "platt", *ON, "--k", "3"], "--k is of dac and dac_top1, but the method is"),
        (["--method", "platt", *ON, *TEXTS], "--zero-shot is of dac and dac_top1"),
        (["--method", "dac", *ON, *TEXTS, "--scope", "group"], "--scope is of calibrators fitted"),
        (["--method", "dac", *ON, *TEXTS, "--unseen", "keep"], "--unseen is of calibrators fitt"),
        (["--method", "dac", *ON], "but none came; give --zero-shot and --tuned"),
        (["--method", "dac", *ON, *TEXTS[:2]], "but none came; give --zero-shot and --tuned"),
        (["--method", "dac", *ON, *TEXTS[:2], "--run", "r"], "but got r and before.npz; leave"),
        (["--method", "dac", *TEXTS, "--k", "3"], "but got neither"),
        (["--method", "platt", *ON, "--threshold", "2"], "threshold"),
        (["--method", "dac", *ON, *TEXTS], "but there are 4; set k to 4 or less"),
        (["--method", "dac", *ON, *TEXTS[:3], "none.npz"], "no embeddings file at none.npz"),
        (["--method", "platt", "--cross-fit", "--folds", "91"], "91 folds for 90 images"),
        (["--method", "platt", "--cross-fit", "--strength", "-1"], "Invalid value for '--streng"),
        (["--method", "platt", "--cross-fit", "--groups", "none.csv"], "none.csv"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(call, tmp_path, args, message):
    result = call(*args)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert sum(line.startswith("Error") for line in result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
