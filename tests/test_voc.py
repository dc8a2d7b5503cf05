import random

import numpy as np
import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.data.voc import PROMPT_NAMES, read_annotations, voc_folder
from ccr_diag.errors import BadData

OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Left</pose>
\t\t<truncated>1</truncated>
{difficult}\t\t<bndbox><xmin>8</xmin><ymin>2</ymin><xmax>35</xmax><ymax>30</ymax></bndbox>
\t\t<part><name>head</name><bndbox><xmin>8</xmin></bndbox></part>
\t</object>
"""
TRAIN = {
    "000005": [("chair", 0), ("chair", 1), ("diningtable", 1)],
    "000007": [("car", None), ("tvmonitor", 1), ("tvmonitor", 1)],
    "000009": [],
}
TEST = {"000001": [("dog", 0), ("person", 1)], "000002": [("train", 1)]}
CLASSES = list(PROMPT_NAMES)


def xml(i, objects, filename=None):
    """A file as the official ones are; a part has a name of its own, which is no class."""
    flags = {0: "0", 1: "1"}
    inside = "".join(
        OBJECT.format(
            name=name,
            difficult=f"\t\t<difficult>{flags[d]}</difficult>\n" if d in flags else "",
        )
        for name, d in objects
    )
    return (
        f"<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>{filename or i + '.jpg'}"
        f"</filename>\n\t<size><width>48</width><height>32</height><depth>3</depth></size>\n"
        f"{inside}</annotation>\n"
    )


def write_voc(folder, splits):
    """A folder VOC2007 or VOC2012 with these splits, image by image."""
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for split, images in splits.items():
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{i}\n" for i in images))
        for n, (i, objects) in enumerate(images.items()):
            (folder / "Annotations" / f"{i}.xml").write_text(xml(i, objects))
            Image.new("RGB", (6, 4), (50 * n, 90, 10)).save(folder / "JPEGImages" / f"{i}.jpg")
    return folder


def write_class_lists(folder, splits):
    """ImageSets/Main/CLASS_SPLIT.txt as the official ones are: a 1 has one more space."""
    for split, images in splits.items():
        for c in CLASSES:
            said = {
                i: -1 if not (of := [d for name, d in objects if name == c]) else int(not all(of))
                for i, objects in images.items()
            }
            text = "".join(f"{i} {value:2d}\n" for i, value in said.items())
            (folder / "ImageSets/Main" / f"{c}_{split}.txt").write_text(text)


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "VOCdevkit" / "VOC2007", {"train": TRAIN, "test": TEST})


def load(folder, split="train", kind="voc2007", unlisted="stated"):
    return load_dataset(f"{kind}:{folder}", split, unlisted)


def message(folder, *args, **kwargs):
    with pytest.raises(BadData) as error:
        load(folder, *args, **kwargs)
    return str(error.value).replace(str(folder) or "\0", "DIR")


def as_text(data):
    """Present classes, then unknown ones with a question mark, of each image."""
    return [
        [data.class_ids[c] for c in np.flatnonzero(row == 1)]
        + [f"{data.class_ids[c]}?" for c in np.flatnonzero(row == -1)]
        for row in data.labels
    ]


def test_labels_follow_the_objects(voc):
    data = load(voc)
    assert as_text(data) == [["chair", "diningtable?"], ["car", "tvmonitor?"], []]
    assert data.image_ids == ("000005", "000007", "000009")
    assert as_text(load(voc, "test")) == [["dog", "person?"], ["train?"]]
    assert data.notes == ()
    assert data.name == "voc2007:VOC2007"
    assert data.open_image(1).getpixel((0, 0))[0] in range(45, 56)
    assert len(data.digest(0)) == 64


def test_classes_have_official_keys_and_readable_names(voc):
    data = load(voc)
    assert data.class_ids == tuple(sorted(PROMPT_NAMES)) == tuple(PROMPT_NAMES)
    named = {i: n for i, n in zip(data.class_ids, data.class_names, strict=True) if i != n}
    assert named == {
        "diningtable": "dining table",
        "pottedplant": "potted plant",
        "tvmonitor": "tv monitor",
    }
    assert len(data.class_names) == 20


@pytest.mark.parametrize("below", ["", "..", "../.."])
def test_the_folder_may_be_any_of_three(voc, below):
    assert len(load(voc / below)) == 3


def test_lists_and_files_agree_on_random_objects(tmp_path):
    rng = random.Random(3)
    images = {
        f"2008_{i:06d}": [
            (rng.choice(CLASSES), rng.choice([0, 1])) for _ in range(rng.randrange(9))
        ]
        for i in range(40)
    }
    folder = write_voc(tmp_path / "VOC2012", {"val": images})
    write_class_lists(folder, {"val": images})
    files = load(tmp_path, "val", "voc2012")
    (folder / "Annotations/2008_000007.xml").unlink()
    lists = load(tmp_path, "val", "voc2012")
    assert set(np.unique(files.labels)) == {-1, 0, 1}
    np.testing.assert_array_equal(files.labels, lists.labels)
    assert (files.notes, lists.notes) == (
        (),
        (
            "1 of 40 images have no XML file in Annotations: the labels of all come from "
            "ImageSets/Main/CLASS_val.txt.",
        ),
    )


def test_splits_are_the_lists_that_are_there(voc):
    assert DATASETS["voc2007"].splits(str(voc)) == ("train", "test")
    twelve = write_voc(voc.parent / "VOC2012", {"test": TEST, "val": TRAIN, "trainval": TRAIN})
    assert DATASETS["voc2012"].splits(str(twelve)) == ("val", "trainval")


def test_labels_of_2012_test_are_hidden(voc):
    write_voc(voc.parent / "VOC2012", {"test": TEST, "val": TRAIN})
    text = message(voc.parent, "test", "voc2012")
    assert "VOC2012 test are hidden" in text
    assert "'val'" in text


def test_the_file_name_inside_does_not_count(voc):
    (voc / "Annotations/000005.xml").write_text(xml("000005", TRAIN["000005"], r"C:\my\dog 1.jpg"))
    data = load(voc)
    assert data.notes == (
        r"1 XML files give another file name than their own (000005.xml: 'C:\\my\\dog 1.jpg'): "
        "their own counts.",
    )
    assert as_text(data)[0] == ["chair", "diningtable?"]


def test_repeated_lines_bom_and_windows_line_ends(voc):
    path = voc / "ImageSets/Main/train.txt"
    path.write_bytes("\ufeff000009\r\n000005\r\n000009\r\n\r\n".encode())
    data = load(voc)
    assert data.image_ids == ("000009", "000005")
    assert data.notes == ("train.txt repeats 1 images: each is read once.",)


def test_what_is_not_listed_is_absent(voc):
    assert (load(voc, unlisted="negative").labels == load(voc).labels).all()
    assert "leave it out" in message(voc, unlisted="unknown")


def test_own_classes(tmp_path):
    own = {"a b": [("Zebra crossing", 0)], "ü1": [("bike", 1)], "x": []}
    other = {"y": [("ant", None)]}
    folder = write_voc(tmp_path / "own set", {"train": own, "val": other})
    (folder / "JPEGImages/x.jpg").unlink()
    Image.new("RGB", (3, 3)).save(folder / "JPEGImages/x.png")
    (folder / "Annotations/._x.xml").write_bytes(b"\0")  # as archives from a Mac leave them
    data, val = load(folder, kind="voc"), load(folder, "val", "voc")
    assert data.class_names == val.class_names == ("Zebra crossing", "ant", "bike")
    assert data.labels.tolist() == [[1, 0, 0], [0, 0, -1], [0, 0, 0]]
    assert data.image_ids == ("a b", "ü1", "x")
    assert data.open_image(2).size == (3, 3)


def test_progress_is_told_of_many_files(voc, monkeypatch):
    told = []
    read_annotations(voc, list(TRAIN), lambda *word: told.append(word))
    monkeypatch.setattr("ccr_diag.data.voc.MANY", 2)
    read_annotations(voc, list(TRAIN), lambda *word: told.append(word))
    assert told == [("XML files", done, 3) for done in (1, 2, 3)]


BOMB = (
    '<!DOCTYPE a [<!ENTITY b "lol"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<annotation><filename>&c;</filename></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>'
    "<annotation><filename>&b;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "must not declare entities"),
        (OUTSIDE, "must not declare entities"),
        (xml("000005", TRAIN["000005"])[:150], "must be whole XML, but is not ("),
        ("", "must be whole XML, but is not ("),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "must be whole XML"),
        ("<annotations/>", "must have the root element annotation, but has 'annotations'"),
        (xml("000005", [("", 0)]), "must name the class of each object, but one has no name"),
        (
            xml("5", [("cat", 1)]).replace("<difficult>1<", "<difficult>yes<"),
            "must say 0 or 1 in difficult, but says 'yes' of a cat",
        ),
        (xml("000005", [("dining table", 0)]), "names 'dining table'; did you mean 'diningtable'?"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_name(voc, text, said):
    (voc / "Annotations/000005.xml").write_text(text)
    sentence = message(voc)
    assert said in sentence
    assert "DIR/Annotations/000005.xml" in sentence
    assert "\n" not in sentence


def test_binary_file(voc):
    (voc / "Annotations/000005.xml").write_bytes(b"\xff\xd8\xff\xe0\x00")
    assert "must be whole XML" in message(voc)


def test_missing_places(tmp_path, voc):
    assert message(tmp_path / "no").startswith("voc2007 needs a folder, but DIR is none; get VOC")
    assert "needs its folder" in message("")
    assert message(tmp_path, kind="voc2012").startswith(
        "voc2012 needs a folder with VOCdevkit/VOC2012/ImageSets/Main, but DIR has neither it nor"
    )
    with pytest.raises(BadData, match="voc2012 needs"):  # VOC2007 is never read as VOC2012
        voc_folder("2012", str(voc))
    assert "no list of a split 'trian'; did you mean 'train'?" in message(voc, "trian")
    for path in (voc / "ImageSets/Main").iterdir():
        path.unlink()
    assert "must hold the list of a split" in message(voc)


def test_missing_files(voc):
    (voc / "JPEGImages/000007.jpg").unlink()
    assert "1 of 3 are not: DIR/JPEGImages/000007.jpg" in message(voc)
    (voc / "Annotations/000009.xml").unlink()
    assert (
        "1 of 3 have none (000009.xml), nor is there aeroplane_train.txt in ImageSets/Main"
    ) in message(voc)
    write_class_lists(voc, {"train": {"000005": [], "000007": []}})
    assert (
        "must list every image of split 'train', as 1 of 3 have no XML file in Annotations "
        "(000009.xml), but lacks 1 of 3 (000009)."
    ) in message(voc)


@pytest.mark.parametrize("line", ["000005 2", "000005", "000005 1 1 x"])
def test_bad_line_of_a_class_list(voc, line):
    write_class_lists(voc, {"train": TRAIN})
    (voc / "Annotations/000009.xml").unlink()
    path = voc / "ImageSets/Main/cat_train.txt"
    path.write_text(path.read_text() + line)
    assert "cat_train.txt line 4 must be an image and -1, 0 or 1" in message(voc)


@pytest.mark.parametrize("content", [b"\n\n", b"000005\n\n000007\n", b"\xff\xfe0\x000"])
def test_bad_lists(voc, content):
    (voc / "ImageSets/Main/train.txt").write_bytes(content)
    assert "DIR/ImageSets/Main/train.txt must" in message(voc)


def test_a_list_cannot_lead_out_of_the_folder(voc):
    (voc / "ImageSets/Main/train.txt").write_text("../../secret\n")
    assert "must lie in the folder" in message(voc)


def test_no_object_at_all(tmp_path):
    write_voc(tmp_path, {"train": {"a": []}})
    assert "needs an object in at least one file" in message(tmp_path, kind="voc")
