"""Folders in COCO's format: what is read, and every file that is refused."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from coco_files import COCO, IDS, coco_content, write_coco, write_images, write_json

from ccr_diag.data import DATASETS, load_dataset, splits_of
from ccr_diag.data.reading import CHUNK
from ccr_diag.errors import BadData

FEW = {"dog": 18, "cat": 17, "person": 1, "fire hydrant": 11, "stop sign": 13}
VAL = {
    "000000000139.jpg": ["dog", "dog", "person"],
    "000000000042.jpg": [],
    "000000581781.jpg": ["crowd of person", "cat", "crowd of person", "crowd of stop sign"],
    "000000000285.jpg": ["crowd of dog", "dog", "stop sign"],
}


def slow_labels(content):
    """Labels straight from the words of the format, one entry at a time."""
    categories = sorted(c["id"] for c in content["categories"])
    rows = [
        [
            int(
                any(
                    a["image_id"] == image["id"] and a["category_id"] == category
                    for a in content["annotations"]
                )
            )
            for category in categories
        ]
        for image in content["images"]
    ]
    return np.array(rows, dtype=np.int8)


def changed(path, change):
    """The file after ``change`` of its content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, content)


def refused(root, *parts, split="val2017"):
    """The one sentence."""
    with pytest.raises(BadData) as caught:
        load_dataset(f"coco:{root}", split)
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text
    return text


def test_official_layout(tmp_path):
    path = write_coco(tmp_path, "val2017", VAL, FEW)
    data = load_dataset(f"coco:{tmp_path}", "val2017")
    assert data.class_names == ("person", "fire hydrant", "stop sign", "cat", "dog")
    assert data.class_ids == ("1", "11", "13", "17", "18")
    assert data.image_ids == ("000000000139", "000000000042", "000000581781", "000000000285")
    assert data.labels.tolist() == [
        [1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [0, 0, 1, 0, 1]
    ]  # fmt: skip
    assert np.array_equal(data.labels, slow_labels(json.loads(path.read_text())))
    assert data.notes == (
        "Images without annotation, where every class is absent: 1 of 4.",
        "Labels from boxes of crowds alone, read as present: 2.",
    )
    assert data.captions is None
    assert not data.new.any()
    assert (data.name, data.split) == (f"coco:{tmp_path.name}", "val2017")
    assert data.open_image(2).getpixel((0, 0))[0] == 2
    assert len({data.digest(i) for i in range(4)}) == 4


def test_any_annotations_against_the_slow_reading(tmp_path):
    draw = random.Random(3)
    images = {
        f"{7 * i:012d}.jpg": [
            draw.choice(["", "crowd of "]) + draw.choice(COCO) for _ in range(draw.randrange(6))
        ]
        for i in range(60)
    }
    path = write_coco(tmp_path, "val2017", images)
    changed(path, lambda content: draw.shuffle(content["annotations"]))
    data = load_dataset(f"coco:{tmp_path}", "val2017")
    assert data.class_names == COCO
    assert data.class_ids == tuple(map(str, IDS.values()))
    assert np.array_equal(data.labels, slow_labels(json.loads(path.read_text())))


@pytest.mark.parametrize(
    ("split", "name"),
    [("val2014", "COCO_val2014_000000000042.jpg"), ("train2017", "000000000042.jpg")],
)
def test_ids_are_the_same_in_both_years(tmp_path, split, name):
    write_coco(tmp_path, split, {name: ["dog"], "else.png": ["cat"]}, FEW)
    data = load_dataset(f"coco:{tmp_path}", split)
    assert data.image_ids == ("000000000042", "else.png")


def test_numbers_of_other_people_are_no_ids_of_coco(tmp_path):
    write_coco(tmp_path, "val", {"000000000042.jpg": ["car"]}, {"car": 1, "pothole": 2})
    assert load_dataset(f"coco:{tmp_path}", "val").image_ids == ("000000000042.jpg",)


def test_more_classes_than_coco_keep_its_ids(tmp_path):
    write_coco(tmp_path, "val", {"000000000042.jpg": ["grass"]}, {**IDS, "grass": 124})
    assert load_dataset(f"coco:{tmp_path}", "val").image_ids == ("000000000042",)


def test_an_image_under_several_corruptions(tmp_path):
    images = {"fog/000000000042.jpg": ["dog"], "snow/000000000042.jpg": ["dog"]}
    path = write_coco(tmp_path, "val", images, FEW)
    changed(path, lambda c: (c["images"][0].update(id=1), c["annotations"][0].update(image_id=1)))
    data = load_dataset(f"coco:{tmp_path}", "val")
    assert data.image_ids == tuple(images)
    assert "not recognised" in data.notes[-1]


@pytest.mark.parametrize("folder", ["val2017", "images/val2017", "images", "."])
def test_where_images_lie(tmp_path, folder):
    write_coco(tmp_path, "val2017", VAL, FEW, folder=folder)
    data = load_dataset(f"coco:{tmp_path}", "val2017")
    assert data.open_image(3).getpixel((0, 0))[0] == 3


def test_paths_in_file_names(tmp_path):
    names = {"val2017/é à/000000000001.jpg": ["dog"], "val2017\\b\\000000000002.jpg": ["cat"]}
    write_images(tmp_path, [name.replace("\\", "/") for name in names])
    write_json(tmp_path / "annotations" / "instances_default.json", coco_content(names, FEW))
    data = load_dataset(f"coco:{tmp_path}", "default")
    assert [data.open_image(i).getpixel((0, 0))[0] for i in range(2)] == [0, 1]


def test_roboflow(tmp_path):
    for split in ("train", "valid"):
        write_images(tmp_path / split, ["a_jpg.rf.1.jpg"])
        write_json(
            tmp_path / split / "_annotations.coco.json", coco_content({"a_jpg.rf.1.jpg": ["cat"]})
        )
    assert DATASETS["coco"].splits(str(tmp_path)) == ("train", "valid")
    data = load_dataset(f"coco:{tmp_path}", "valid")
    assert data.labels.sum() == 1
    assert data.image_ids == ("a_jpg.rf.1.jpg",)


def test_the_supercategory_that_roboflow_lists_is_no_class(tmp_path):
    write_images(tmp_path / "train", ["a.jpg"])
    content = coco_content({"a.jpg": ["cat"]}, {"pets": 0, "cat": 1, "none": 2})
    for category in content["categories"]:
        category["supercategory"] = "none" if category["name"] == "pets" else "pets"
    path = write_json(tmp_path / "train" / "_annotations.coco.json", content)
    data = load_dataset(f"coco:{tmp_path}", "train")
    assert data.class_names == ("cat", "none")
    assert data.labels.tolist() == [[1, 0]]
    assert "have in common, left out: 'pets'." in data.notes[0]
    changed(path, lambda c: c["categories"][1].update(name="pets"))  # as the one above it
    assert load_dataset(f"coco:{tmp_path}", "train").class_names == ("pets", "none")
    changed(path, lambda c: [category.pop("supercategory") for category in c["categories"]])
    refused(tmp_path, "2 of them have the name 'pets'", split="train")


def test_spaces_round_names_do_not_reach_prompts(tmp_path):
    path = write_coco(tmp_path, "val2017", VAL, FEW)
    changed(path, lambda c: c["categories"][0].update(name=" stop  sign\n"))
    assert load_dataset(f"coco:{tmp_path}", "val2017").class_names[2] == "stop sign"


def test_a_mark_of_byte_order(tmp_path):
    path = write_coco(tmp_path, "val2017", VAL, FEW)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_dataset(f"coco:{tmp_path}", "val2017")) == 4


def test_the_home_folder(tmp_path, monkeypatch):
    write_coco(tmp_path / "coco", "val2017", VAL, FEW)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert splits_of("coco:~/coco") == ("val2017",)
    assert load_dataset("coco:~/coco", "val2017").name == "coco:coco"


def test_labels_without_boxes(tmp_path):
    path = write_coco(tmp_path, "train", VAL, FEW)

    def bare(content):
        for annotation in content["annotations"]:
            for key in ("segmentation", "area", "iscrowd", "bbox", "id"):
                del annotation[key]

    changed(path, bare)
    path.rename(path.with_name("labels_train.json"))
    data = load_dataset(f"coco:{tmp_path}", "train")
    assert data.labels.sum() == 7
    assert len(data.notes) == 1  # nothing is a crowd


def test_short_names_of_splits(tmp_path):
    for split in ("train2014", "train2017", "val2017"):
        write_coco(tmp_path, split, VAL, FEW)
    assert DATASETS["coco"].splits(str(tmp_path)) == ("train2014", "train2017", "val2017")
    assert load_dataset(f"coco:{tmp_path}", "val").split == "val2017"
    refused(tmp_path, "train2014 and train2017", "'train'", split="train")
    refused(tmp_path, "'test'", "papers test on val", "train2014, train2017, val2017", split="test")
    assert "papers" not in refused(tmp_path, "'valid'", split="valid")
    write_coco(tmp_path, "val", VAL, FEW)
    assert load_dataset(f"coco:{tmp_path}", "val").split == "val"


def test_captions(tmp_path):
    write_coco(tmp_path, "val2017", VAL, FEW)
    said = [
        (9, 139, "A late one."), (2, 139, " Two\n dogs. "), (5, 581781, "A cat."),
        (7, 285, ""), (8, 285, "A stop sign."), (1, 777, "Of another image."),
    ]  # fmt: skip
    captions = [{"id": i, "image_id": image, "caption": text} for i, image, text in said]
    path = tmp_path / "annotations" / "captions_val2017.json"
    write_json(path, {"annotations": captions})
    data = load_dataset(f"coco:{tmp_path}", "val2017")
    assert data.captions == ("Two dogs.", "", "A cat.", "A stop sign.")
    write_json(path, {"annotations": [{"id": 1, "image_id": 139}]})
    refused(tmp_path, path, "caption", "$.annotations[0]")


def test_images_listed_again_are_joined(tmp_path):
    path = write_coco(tmp_path, "val2017", VAL, FEW)

    def twice(content):
        first = content["images"][0]
        content["images"] += [first, {**first, "id": 5}]
        content["annotations"].append({"image_id": 5, "category_id": 17})

    changed(path, twice)
    data = load_dataset(f"coco:{tmp_path}", "val2017")
    assert len(data) == 4
    assert data.labels[0].tolist() == [1, 0, 0, 1, 1]
    assert data.notes[-1] == "Images listed again, their annotations joined: 2."


def test_unlisted_is_said_by_the_format(tmp_path):
    write_coco(tmp_path, "val2017", VAL, FEW)
    assert load_dataset(f"coco:{tmp_path}", "val2017", "negative").labels.min() == 0
    with pytest.raises(BadData, match="--unlisted unknown"):
        load_dataset(f"coco:{tmp_path}", "val2017", "unknown")


def test_splits_of_other_classes(tmp_path):
    write_coco(tmp_path, "val2017", VAL, FEW)
    path = write_coco(tmp_path, "train2017", VAL, FEW)
    load_dataset(f"coco:{tmp_path}", "val2017")
    changed(path, lambda c: c["categories"][0].update(name="halt sign"))
    refused(tmp_path, path, "13 'halt sign'", "13 'stop sign'")


def test_own_classes_of_coco_need_no_other_file(tmp_path):
    write_coco(tmp_path, "val2017", VAL)
    path = write_coco(tmp_path, "train2017", {"000000000001.jpg": ["dog"]})
    changed(path, lambda c: c["categories"][0].update(name="brush"))
    load_dataset(f"coco:{tmp_path}", "val2017")
    refused(tmp_path, "90 'brush'", "90 'toothbrush'", split="train2017")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda c: c["annotations"][1].update(image_id=7), ["annotation 900101 ", "image 7"]),
        (lambda c: c["annotations"][1].update(category_id=12), ["on 900101 ", "category 12"]),
        (lambda c: c["annotations"][1].pop("image_id"), ["image_id", "$.annotations[1]"]),
        (lambda c: c["annotations"][0].update(category_id="1"), ["int", "$.annotations[0]"]),
        (lambda c: c["images"][2].pop("file_name"), ["file_name", "$.images[2]"]),
        (lambda c: c.pop("categories"), ["`categories`"]),
        (lambda c: c.update(images={}), ["array", "$.images"]),
        (lambda c: c.update(categories=[]), ["lists none"]),
        (lambda c: c.update(annotations=[]), ["needs annotations", "public"]),
        (lambda c: c["categories"][1].update(name="DOG"), ["'DOG' and 'dog' differ only in case"]),
        (lambda c: c["categories"][1].update(id=18), ["2 of them have the id 18;"]),
        (lambda c: c["categories"][1].update(name=" "), ["empty name"]),
        (lambda c: c["categories"][1].update(name="dog"), ["2 of them have the name 'dog';"]),
        (lambda c: c["categories"][1].update(name="Stop  sign "), ["'Stop sign'", "differ only"]),
        (lambda c: c["images"][1].update(file_name="a" * 300), ["1 of 4", "aaa"]),
        (lambda c: c["annotations"][1].update(area=float("nan")), ["JSON", "anew without NaN."]),
        (lambda c: c["images"][1].update(id=139), ["139", "'000000000042.jpg'"]),
        (lambda c: c["images"][1].update(file_name="../x.jpg"), ["'../x.jpg'"]),
        (lambda c: c["images"][1].update(file_name="gone.jpg"), ["1 of 4", "gone.jpg"]),
    ],
)  # fmt: skip
def test_broken_rules(tmp_path, change, parts):
    path = write_coco(tmp_path, "val2017", VAL, FEW)
    changed(path, change)
    refused(tmp_path, *parts, *([] if "../x" in parts[0] else [path]))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"[]", "object"),
        (b"", "cut off at byte 0"),
        (b'{"images": [}', "JSON"),
        (b"\xff", "JSON"),
        (b'{"info": ' + b"[" * 9999, "recursion"),
    ],
)
def test_no_file_of_coco(tmp_path, content, part):
    path = write_coco(tmp_path, "val2017", VAL, FEW)
    path.write_bytes(content)
    refused(tmp_path, path, part)


def test_a_file_that_is_cut_off_anywhere(tmp_path):
    path = write_coco(tmp_path, "val2017", {"é.jpg": ["dog"]}, {"dog": 18})
    whole = path.read_bytes()
    area, accent = whole.index(b"8.9375"), whole.index(rb"\u00e9")
    numbers_and_texts = {*range(area, area + 6), *range(accent, accent + 6)}
    for kept in {*range(0, len(whole), 50), *numbers_and_texts, len(whole) - 1}:
        path.write_bytes(whole[:kept])
        refused(tmp_path, path, f"cut off at byte {kept};", "download it again")


def test_missing_folders(tmp_path):
    refused(tmp_path / "nowhere", tmp_path / "nowhere", "instances_val2017.json", "cocodataset.org")
    refused("", "coco:/data/coco")
    refused(tmp_path, "annotations/instances_SPLIT.json", "cocodataset.org")
    path = write_coco(tmp_path, "val2017", VAL, FEW)
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    refused(tmp_path, path, tmp_path / "images" / "val2017", "000000000139.jpg", "cocodataset.org")
    path.unlink()
    path.mkdir()
    refused(tmp_path, path, "readable")


def test_large_files_tell_how_far_they_are(tmp_path):
    path = write_coco(tmp_path, "val2017", VAL, FEW)
    told = []
    load_dataset(f"coco:{tmp_path}", "val2017", progress=lambda *word: told.append(word))
    assert told == []  # read in a moment
    with path.open("a") as file:
        file.write(" " * (2 * CHUNK))
    load_dataset(f"coco:{tmp_path}", "val2017", progress=lambda *word: told.append(word))
    assert told == [(f"MB of {path.name}", done, 32) for done in (16, 32, 32)]


def test_paths_of_the_user(tmp_path, monkeypatch):
    root = tmp_path / "mes données: COCO"
    write_coco(root, "val2017", VAL, FEW)
    monkeypatch.chdir(root)
    for place in (str(root), ".", str(Path("..") / root.name)):
        assert load_dataset(f"coco:{place}", "val").name == f"coco:{root.name}"
