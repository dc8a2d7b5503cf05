"""YOLO's data.yaml, image folders or lists, and text files of boxes."""

import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.errors import BadData

BOXES = {
    "train/a b/1": "0 .5 .5 .1 .1\n2 .5 .5 .1 .1\n0 .4 .4 .1 .1\n",
    "train/2": "1\n",
    "val/3": "\n",
}


@pytest.fixture
def folder(tmp_path):
    """Four images, of which the last has no file of boxes."""
    for i, name in enumerate([*BOXES, "val/4"]):
        image = tmp_path / "set" / "images" / f"{name}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (60 * i, 0, 0)).save(image)
        if name in BOXES:
            boxes = tmp_path / "set" / "labels" / f"{name}.txt"
            boxes.parent.mkdir(parents=True, exist_ok=True)
            boxes.write_text(BOXES[name])
    return tmp_path


YAML = (
    "path: set\ntrain: images/train\nval: images/val\ntest:\nnc: 3\nnames: [dog, cat, 'Möwe: x']\n"
)
LONG = "a" * 300  # for the name of a file
LABELS = [[0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]]


def load(folder, text=YAML, split="all", unlisted="negative"):
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    return load_dataset(f"yolo:{folder}", split, unlisted)


def refusal(folder, text=YAML, unlisted="negative"):
    with pytest.raises(BadData) as error:
        load(folder, text, unlisted=unlisted)
    return str(error.value).replace(f"{folder}/", "")


def test_boxes_become_labels(folder):
    data = load(folder)
    assert data.class_names == ("dog", "cat", "Möwe: x")
    names = [f"images/{name}.jpg" for name in ("train/2", "train/a b/1", "val/3", "val/4")]
    assert sorted(data.image_ids) == sorted(names)
    by_name = dict(zip(data.image_ids, data.labels.tolist(), strict=True))
    assert [by_name[name] for name in names] == LABELS
    i = data.image_ids.index(names[1])
    assert data.open_image(i).getpixel((0, 0))[0] < 5
    assert len(load(folder, split="val")) == 2
    assert DATASETS["yolo"].splits(str(folder)) == ("train", "val")
    assert load(folder, unlisted="unknown", split="val").labels.tolist() == [[-1] * 3] * 2


def test_a_folder_called_images_above(folder):
    (folder / "set").rename(folder / "images")
    (folder / "above" / "images").mkdir(parents=True)
    (folder / "images").rename(folder / "above" / "images" / "set")
    assert load(folder / "above" / "images").labels.sum() == 3


@pytest.mark.parametrize(
    "text",
    [
        YAML.replace("[dog, cat, 'Möwe: x']", "{0: dog, 1: cat, 2: 'Möwe: x'}"),
        YAML.replace("images/train", "[images/train]"),
        YAML.replace("path: set", "").replace("images/", "../set/images/"),
        YAML.replace("images/train", "train.txt"),
    ],
)
def test_ways_to_say_the_same(folder, text):
    lines = ["./images/train/a b/1.jpg", str(folder / "set/images/train/2.jpg")]
    (folder / "set" / "train.txt").write_text("\n".join(lines))
    expected = load(folder)
    found = load(folder, text)
    assert found.class_names == expected.class_names
    order = [[path.name for path in found.paths].index(path.name) for path in expected.paths]
    assert found.labels[order].tolist() == expected.labels.tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: [a", "data.yaml must be a YAML file, but is not ("),
        (
            "names: !!int ''",
            "data.yaml must be a YAML file, but is not (string index out of range)",
        ),
        ("names: !!bool x", "data.yaml must be a YAML file, but is not ('x')"),
        ("names: !!timestamp x", "data.yaml must be a YAML file, but is not ('NoneType' object"),
        (YAML.replace("path: set", f"path: {LONG}"), "data.yaml must say in path the folder of "),
        (YAML.replace("images/val", LONG), "data.yaml must name in val a folder, a list of folde"),
        ("- 1", "data.yaml must say names and train, val or test, but has no names."),
        ("names: [a]", "data.yaml must say where train, val or test is, but says none of them."),
        (
            YAML.replace("cat", "no"),
            "data.yaml must hold texts in names, but holds ['dog', False, 'Möwe: x']; put quotes",
        ),
        (
            YAML.replace("[dog, cat, 'Möwe: x']", "{1: dog, 2: cat}"),
            "data.yaml must number its names from 0 without gaps, but numbers them [1, 2].",
        ),
        (YAML.replace("path: set", "path: sets"), "data.yaml must say in path the folder of its "),
        (YAML.replace("images/val", "images/valid"), "data.yaml must name in val a folder, a list"),
        (YAML.replace("images/val", "labels/val"), "data.yaml must name in val a folder of images"),
        (
            YAML.replace(", 'Möwe: x'", ""),
            "data.yaml must name as many classes as nc says, but names 2 and says 3",
        ),
        (
            YAML.replace(", 'Möwe: x'", "").replace("nc: 3", "nc: 2"),
            "set/labels/train/a b/1.txt line 2 must begin with the number of one of 2 classes, "
            "from 0, but begins with '2'; data.yaml names the classes.",
        ),
        (
            YAML.replace("cat", "DOG"),
            "data.yaml must write each class one way, but 'dog' and 'DOG'",
        ),
    ],
)
def test_refusals(folder, text, expected):
    assert refusal(folder, text).startswith(expected)


def test_python_in_yaml_is_not_run(folder):
    said = refusal(folder, "names: !!python/object/apply:os.system ['true']")
    assert said.startswith("data.yaml must be a YAML file, but is not (could not determine")


def test_what_has_no_box_must_be_declared(folder):
    assert "does not say what a class means" in refusal(folder, YAML, "stated")


def test_an_image_of_two_splits(folder):
    text = YAML.replace("images/val", "images/train")
    assert len(load(folder, text, "train")) == len(load(folder, text, "val")) == 2
    both = load(folder, text)
    assert len(both) == 2
    assert both.notes == ("2 images are in several places and count once.",)
    with pytest.raises(BadData, match="has no split 'dev'; known are all, train, val"):
        load(folder, split="dev")


def test_only_the_chosen_split_needs_to_be_good(folder):
    (folder / "set" / "labels" / "val" / "3.txt").write_text("cat 1 2 3 4\n")
    assert len(load(folder, split="train")) == 2
    assert len(load(folder, YAML.replace("images/val", "no/val"), split="train")) == 2
    assert "begins with 'cat'" in refusal(folder)
    (folder / "set" / "labels" / "val" / "3.txt").write_text("9" * 5000)
    assert "begins with '999999999999...9999999999999'; data.yaml names" in refusal(folder)


def test_a_list_names_images_from_its_own_folder(folder):
    (folder / "set" / "images" / "val" / "list.txt").write_text("./3.jpg\nimages/val/4.jpg\n")
    data = load(folder, YAML.replace("images/val", "images/val/list.txt"), "val")
    assert data.image_ids == ("images/val/3.jpg", "images/val/4.jpg")


def test_numbers_of_names_are_no_text(folder):
    names = "{" + ", ".join(f"{i}: c{i}" for i in reversed(range(11))) + "}"
    text = YAML.replace("[dog, cat, 'Möwe: x']", names).replace("nc: 3", "nc: 11")
    assert load(folder, text).class_names == tuple(f"c{i}" for i in range(11))


def test_which_file(folder):
    with pytest.raises(BadData, match="has none; name the file, as in yolo:data.yaml"):
        load_dataset(f"yolo:{folder / 'set'}", "all")
    for name in ("a.yaml", "b.yaml"):
        (folder / "set" / name).write_text(YAML)
    with pytest.raises(BadData, match="has a.yaml, b.yaml; name the file"):
        load_dataset(f"yolo:{folder / 'set'}", "all")
    (folder / "other.yaml").write_text("a: 1\n")
    assert len(load(folder)) == 4


def test_a_split_without_any_label_file_is_refused(folder):
    (folder / "set" / "labels" / "val" / "3.txt").unlink()
    with pytest.raises(BadData, match="needs label files for the images of val, but there is none"):
        load(folder)
    for path in (folder / "set" / "labels").rglob("*.txt"):
        path.unlink()
    with pytest.raises(BadData, match="needs label files for the images of"):
        load(folder)
