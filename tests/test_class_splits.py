"""Base-to-new splits, and data sets as a run sees them."""

import json

import numpy as np
import pytest
from test_dataset import dataset, key, picture

from ccr_diag import config as settings
from ccr_diag.config import FinetuneConfig
from ccr_diag.data import load_dataset
from ccr_diag.data.class_splits import CLASS_SPLITS, COCO, split_classes
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.run_data import run_dataset

# Of the 80 category ids of COCO in order; a second source than the names.
NEW_17 = (4, 5, 15, 16, 19, 20, 25, 27, 31, 36, 41, 43, 55, 57, 66, 71, 76)
UNUSED = (9, 10, 11, 12, 32, 34, 35, 38, 40, 52, 58, 60, 67, 77, 78)
NEW_15 = (4, 6, 12, 15, 21, 28, 29, 31, 42, 48, 52, 61, 64, 70, 78)


def of_classes(names, images=6):
    """A data set whose label of image i and class c is known by i and the name of c."""
    labels = np.array([[(i + len(n)) % 3 - 1 for n in names] for i in range(images)], np.int8)
    return MultiLabelDataset(
        name="toy",
        split="test",
        class_names=tuple(names),
        new=np.zeros(len(names), dtype=bool),
        labels=labels,
        image_ids=tuple(map(str, range(images))),
        digest=key,
        open_image=picture,
    )


def listing(folder, text):
    path = folder / "classes.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def names_of(data):
    """Base and new."""
    base = tuple(c for c in data.class_names if c not in data.new_names)
    return base, data.new_names


def column(data, name):
    return data.labels[:, data.class_names.index(name)]


@pytest.mark.parametrize(("n", "base"), [(2, 1), (3, 2), (4, 2), (5, 3), (86, 43)])
def test_the_first_half_rounds_up(n, base):
    names = tuple(f"class {i}" for i in range(n))
    half = split_classes(of_classes(names), "first-half")
    assert names_of(half) == (names[:base], names[base:])
    np.testing.assert_array_equal(half.labels, of_classes(names).labels)


def test_a_split_stands_in_place_of_what_the_data_declares():
    data = dataset(new=np.array([True, True, False]))
    assert names_of(split_classes(data, "first-half")) == (("cat", "dog"), ("horse",))


def test_the_lists_of_coco_are_those_of_its_ids():
    assert len(set(COCO)) == 80
    assert {*NEW_17} & {*UNUSED} == set()
    base, new = names_of(split_classes(of_classes(COCO), "coco-48-17"))
    assert new == tuple(COCO[i] for i in NEW_17)
    assert base == tuple(c for i, c in enumerate(COCO) if i not in NEW_17 + UNUSED)
    assert (len(base), len(new)) == (48, 17)
    base, new = names_of(split_classes(of_classes(COCO), "coco-65-15"))
    assert new == tuple(COCO[i] for i in NEW_15)
    assert base == tuple(c for i, c in enumerate(COCO) if i not in NEW_15)
    assert (len(base), len(new)) == (65, 15)


def test_coco_is_found_by_name_in_any_order_and_spelling_and_the_rest_is_dropped():
    theirs = [c.replace(" ", "_").title() for c in COCO]
    data = of_classes([*np.random.default_rng(0).permutation(theirs).tolist(), "zeppelin"])
    found = split_classes(data, "coco-48-17")
    assert len(found.class_names) == 65
    assert {"Hot_Dog", "zeppelin"} & set(found.class_names) == set()
    assert {"Airplane", "Couch"} <= set(found.new_names)
    order = [c for c in data.class_names if c in found.class_names]
    assert found.class_names == tuple(order)
    for name in found.class_names:
        np.testing.assert_array_equal(column(found, name), column(data, name))


def test_coco_without_its_unused_classes_is_split_too():
    kept = [c for i, c in enumerate(COCO) if i not in UNUSED]
    assert split_classes(of_classes(kept), "coco-48-17").class_names == tuple(kept)
    with pytest.raises(BadData) as error:
        split_classes(of_classes(kept), "coco-65-15")
    assert str(error.value) == (
        "Class split coco-65-15 needs 80 classes of COCO by their names, but toy lacks 15 of them "
        "(traffic light, fire hydrant, stop sign, sports ball, baseball bat, …); list its own "
        "classes in a TOML file."
    )


def test_a_file_lists_new_classes_and_maybe_base_ones(tmp_path):
    path = listing(tmp_path, 'new = ["dog"]')
    assert names_of(split_classes(dataset(), path)) == (("cat", "horse"), ("dog",))
    path = listing(tmp_path, 'base = ["horse"]\nnew = ["cat"]')
    split = split_classes(dataset(), path)
    assert (split.class_names, split.new_names) == (("cat", "horse"), ("cat",))
    np.testing.assert_array_equal(split.labels, dataset().labels[:, [0, 2]])


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            'new = ["dgo"]',
            BadData,
            "must list classes of toy, but 'dgo' of its 'new' is none; did you mean 'dog'?",
        ),
        (
            'new = ["dog"]\nbase = ["cat", "violin"]',
            BadData,
            "must list classes of toy, but 'violin' of its 'base' is none; known are cat, dog, "
            "horse.",
        ),
        (
            'nwe = ["dog"]',
            BadConfig,
            "must list classes as new = [...] and base = [...], but has 'nwe'; did you mean 'new'?",
        ),
        (
            'base = ["dog"]',
            BadConfig,
            "must list the new classes as new = [...], but does not; add them.",
        ),
        (
            "new = []",
            BadConfig,
            "must give 'new' as a list of one class name or more, but gives [].",
        ),
        (
            'new = "dog"',
            BadConfig,
            "must give 'new' as a list of one class name or more, but gives 'dog'.",
        ),
        (
            "new = [1]",
            BadConfig,
            "must give 'new' as a list of one class name or more, but gives [1].",
        ),
        (
            'new = ["dog"]\nbase = ["cat", "dog"]',
            BadConfig,
            "must list each class once, but lists 'dog' 2 times; drop one.",
        ),
        (
            'new = ["dog", "cat", "horse"]',
            BadConfig,
            "must leave a base class to tune on, but lists all 3 classes of toy as new; list "
            "fewer.",
        ),
    ],
)
def test_bad_files(tmp_path, text, kind, message):
    path = listing(tmp_path, text)
    with pytest.raises(kind) as error:
        split_classes(dataset(), path)
    assert str(error.value) == f"{path} {message}"


def test_files_that_are_none(tmp_path):
    with pytest.raises(BadConfig, match=r"but .*none\.toml cannot be read \(No such file"):
        split_classes(dataset(), str(tmp_path / "none.toml"))
    with pytest.raises(BadConfig, match=r"must be a TOML file, but .* is not \("):
        split_classes(dataset(), listing(tmp_path, "new = ["))
    with pytest.raises(BadData, match="needs at least 2 classes, but toy has only 'cat'; leave"):
        split_classes(of_classes(["cat"]), "first-half")


def test_the_setting_knows_the_names_and_refuses_two_ways_at_once():
    assert tuple(CLASS_SPLITS) == settings.CLASS_SPLITS
    assert FinetuneConfig(class_split="mine.toml").class_split == "mine.toml"
    with pytest.raises(BadConfig) as error:
        FinetuneConfig(class_split="fist-half")
    assert str(error.value) == (
        "class_split must be one of first-half, coco-48-17, coco-65-15 or a TOML file, but got "
        "'fist-half'; did you mean 'first-half'?"
    )
    with pytest.raises(BadConfig) as error:
        FinetuneConfig(class_split="first-half", new_classes=("dog", "cat"))
    assert str(error.value) == (
        "New classes are named one by one or by a class split, but got new_classes dog, cat with "
        "class_split 'first-half'; leave one out."
    )


def test_a_run_sees_its_data_as_its_settings_say():
    scenes = load_dataset("scenes", "test")
    seen = run_dataset(FinetuneConfig(), "test")
    assert (seen.class_names, seen.new_names) == (scenes.class_names, scenes.new_names)
    one = run_dataset(FinetuneConfig(new_classes=("person",)), "test")
    assert one.new_names == ("person", *scenes.new_names)  # beside those of the data
    half = run_dataset(FinetuneConfig(class_split="first-half"), "calibration")
    assert half.new_names == scenes.class_names[43:]
    assert half.split == "calibration"


def two_sets(folder, theirs, split="test"):
    """Manifests of one image in two folders, whose classes the second names otherwise."""
    from PIL import Image

    specs = []
    for name, classes in (("ours", "b-e-d-a-c"), ("theirs", theirs)):
        (folder / name).mkdir()
        rows = ["image,labels,split"]
        for i, present in enumerate(classes.split("-")):
            Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / name / f"{i}.png")
            rows.append(f"{i}.png,{present};a,{('train', split)[i % 2]}")
        (folder / name / "x.csv").write_text("\n".join(rows))
        specs.append(f"manifest:{folder / name / 'x.csv'}")
    return specs


def test_another_data_set_gets_the_classes_of_the_run_by_name(tmp_path, caplog):
    ours, theirs = two_sets(tmp_path, "f-e-b-d-A1-c")
    split = listing(tmp_path, 'new = ["d"]\nbase = ["e", "b", "a"]')
    config = FinetuneConfig(data=ours, class_split=split, unlisted="negative")
    with caplog.at_level("INFO", logger="ccr_diag"):
        other = run_dataset(config, "test", theirs)
    assert (other.class_names, other.new_names) == (("a", "b", "d", "e"), ("d",))
    whole = load_dataset(theirs, "test", "negative")
    assert other.image_ids == whole.image_ids == ("1.png", "3.png", "5.png")
    for name in other.class_names:
        np.testing.assert_array_equal(column(other, name), column(whole, name))
    assert caplog.messages == [
        "Classes of manifest:x.csv that the run does not have: A1, c, f",
    ]
    assert run_dataset(config, "test", ours).class_names == other.class_names


def test_another_data_set_that_lacks_a_class_is_refused(tmp_path):
    ours, theirs = two_sets(tmp_path, "b-d")
    with pytest.raises(BadData) as error:
        run_dataset(FinetuneConfig(data=ours, unlisted="negative"), "test", theirs)
    assert str(error.value) == (
        "Data set manifest:x.csv must have the 5 classes of the run, by the same names, but lacks "
        "2 (c, e); rename its classes, or use data that has them."
    )


@pytest.fixture
def small(tiny_clip, drawn_data):
    """Flags of a small run."""
    return [
        "--model", tiny_clip, "--data", drawn_data, "--shots", 2, "--epochs", 1, "--device", "cpu",
    ]  # fmt: skip


def test_commands_read_a_run_under_its_class_split(ccr, small, tmp_path, drawn_data):
    from ccr_diag.checkpoint import load_checkpoint
    from ccr_diag.readers.own import load_predictions

    whole = load_dataset(drawn_data, "test")
    kept = (whole.class_names[2], whole.class_names[0], whole.class_names[3])
    path = listing(tmp_path, f"new = {json.dumps(kept[:1])}\nbase = {json.dumps(kept[1:])}")
    run = tmp_path / "run"
    done = ccr("finetune", *small, "--class-split", path, "-o", run)
    assert done.exit_code == 0, done.output
    saved = load_checkpoint(run / "split-1")
    assert saved.config.class_split == path
    assert saved.class_names == (kept[1], kept[0], kept[2])
    assert (saved.new, len(saved.facts["shots"])) == (kept[:1], 2)
    (tmp_path / "classes.toml").unlink()  # the checkpoint holds what it said
    assert ccr("predict", run, "-o", tmp_path / "p.npz").exit_code == 0
    found = load_predictions(tmp_path / "p.npz")
    assert found.class_names == saved.class_names
    assert [g == "new" for g in found.groups] == [False, True, False]
    np.testing.assert_array_equal(found.labels, whole.labels[:, [0, 2, 3]])
    analysed = ccr(
        "analyze", "checkpoint", run, "--format", "json", "--bootstrap", 0, "-o", tmp_path / "a"
    )
    assert analysed.exit_code == 0, analysed.output
    groups = json.loads(analysed.stdout)["models"][0]["groups"]
    assert {"base", "new"} <= groups.keys()


def test_commands_measure_a_run_on_other_data_in_another_order(ccr, small, tmp_path, drawn_data):
    """A class named by the first image alone would move to the front if order were not by name."""
    from ccr_diag.data import DATASETS, Format
    from ccr_diag.readers.own import load_predictions

    run = tmp_path / "run"
    assert ccr("finetune", *small, "-o", run).exit_code == 0
    other = load_dataset(drawn_data, "test").in_order(
        load_dataset(drawn_data, "test").class_names[::-1]
    )
    mirrored = Format(lambda *asked: other, lambda argument: ("test",), "unknown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "mirrored", mirrored)
        for data in (drawn_data, "mirrored"):
            name = tmp_path / f"{data[:4]}.npz"
            result = ccr("predict", run, "--data", data, "-o", name)
            assert result.exit_code == 0, result.output
        shown = ccr("analyze", "checkpoint", run, "--data", "mirrored", "--bootstrap", 0, "-o", "-")
        assert shown.exit_code == 0, shown.output
    own, mirrored = (load_predictions(tmp_path / f"{name}.npz") for name in ("mani", "mirr"))
    assert own.class_names == mirrored.class_names
    for name in ("values", "labels"):
        np.testing.assert_array_equal(getattr(own, name), getattr(mirrored, name))


def test_a_bad_split_is_one_line_and_exit_code_2(ccr, small, tmp_path):
    path = listing(tmp_path, 'new = ["grey sqare"]')
    result = ccr("finetune", *small, "--class-split", path, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "'grey sqare' of its 'new' is none; did you mean 'grey square'?" in result.stderr
    assert not (tmp_path / "run").exists()
    result = ccr("finetune", "--class-split", "coco-48", "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "did you mean 'coco-48-17'?" in result.stderr
