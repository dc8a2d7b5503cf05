import shutil

import numpy as np
import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.errors import BadData

CONCEPTS = tuple(sorted(["airport", "swimmers", *(f"concept{i:02d}" for i in range(79))]))
TRAIN = {
    r"actor\0001_2124494179.jpg": {"airport", "swimmers"},
    r"actor\0002_174174086.jpg": set(),
    r"swimmers\0003_1 é.jpg": {"swimmers"},
    r"actor\0004_4.jpg": {"concept00"},
}
TEST = {r"zebra\0005_5.jpg": {"concept78"}, r"zebra\0006_6.jpg": set()}


def write_nuswide(folder, end="\n", flickr="Flickr"):
    """The official files, and an image for every line; the last line end is doubled."""
    for part in ("ImageList", "TrainTestLabels", flickr):
        (folder / part).mkdir(parents=True)
    (folder / "Concepts81.txt").write_bytes((end.join(CONCEPTS) + end).encode())
    for part, images in (("Train", TRAIN), ("Test", TEST)):
        path = folder / "ImageList" / f"{part}Imagelist.txt"
        path.write_bytes((end.join(images) + end + end).encode())
        for concept in CONCEPTS:
            text = end.join("1" if concept in has else "0" for has in images.values()) + end
            path = folder / "TrainTestLabels" / f"Labels_{concept}_{part}.txt"
            path.write_bytes(text.encode())
        for n, name in enumerate(images):
            path = folder / flickr / name.replace("\\", "/")
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (5, 4), (40 * n, 9, 9)).save(path)
    return folder


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Shared by tests that only read."""
    return write_nuswide(tmp_path_factory.mktemp("nus"))


@pytest.fixture
def nus(official, tmp_path):
    """A copy to break."""
    return shutil.copytree(official, tmp_path / "NUS WIDE")


def load(folder, split="train", kind="nuswide", unlisted="stated"):
    return load_dataset(f"{kind}:{folder}", split, unlisted)


def message(folder, *args, **kwargs):
    with pytest.raises(BadData) as error:
        load(folder, *args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(folder) or "\0", "DIR")


def present(data):
    return [{data.class_names[c] for c in np.flatnonzero(row == 1)} for row in data.labels]


def test_official_protocol(official):
    data = load(official)
    assert data.class_names == data.class_ids == CONCEPTS
    assert present(data) == list(TRAIN.values())
    assert set(np.unique(data.labels)) == {0, 1}
    assert data.image_ids == tuple(name.replace("\\", "/") for name in TRAIN)
    assert data.notes == (
        "Official protocol: 1 of 4 rows have none of the 81 concepts and are kept.",
    )
    assert data.name.startswith("nuswide:")
    assert data.open_image(1).getpixel((0, 0))[0] in range(35, 46)
    assert present(load(official, "test")) == list(TEST.values())
    assert DATASETS["nuswide"].splits(str(official)) == ("train", "test")


def test_progress_is_told_of_many_images(official, monkeypatch):
    told = []
    for many in (4, 3):
        monkeypatch.setattr("ccr_diag.data.nuswide.MANY", many)
        load_dataset(f"nuswide:{official}", "train", "stated", lambda *word: told.append(word))
    assert told == [("label files", done, 81) for done in range(1, 82)]


def test_filtered_protocol(official):
    data = load(official, kind="nuswide-filtered")
    assert present(data) == [has for has in TRAIN.values() if has]
    assert data.image_ids[1] == "swimmers/0003_1 é.jpg"
    assert data.open_image(1).getpixel((0, 0))[0] in range(75, 86)
    assert data.name.startswith("nuswide-filtered:")
    assert data.notes == (
        "Filtered protocol: 1 of 4 rows have none of the 81 concepts and are left out.",
    )


def test_windows_line_ends_and_the_other_folders(tmp_path, official):
    folder = write_nuswide(tmp_path / "nus", end="\r\n", flickr="images")
    (folder / "Groundtruth").mkdir()
    (folder / "TrainTestLabels").rename(folder / "Groundtruth/TrainTestLabels")
    (folder / "ConceptsList").mkdir()
    (folder / "Concepts81.txt").rename(folder / "ConceptsList/Concepts81.txt")
    data, expected = load(folder), load(official)
    np.testing.assert_array_equal(data.labels, expected.labels)
    assert (data.class_names, data.image_ids) == (expected.class_names, expected.image_ids)


def test_images_in_one_folder(nus):
    (nus / "images").mkdir()
    for path in list((nus / "Flickr").rglob("*.jpg")):
        path.rename(nus / "images" / path.name)
    assert len(load(nus)) == 4


def test_images_that_are_gone_are_counted(nus):
    (nus / "Flickr/actor/0001_2124494179.jpg").unlink()
    data = load(nus)
    assert present(data) == list(TRAIN.values())[1:]
    assert data.image_ids[1] == "swimmers/0003_1 é.jpg"
    assert data.open_image(1).getpixel((0, 0))[0] in range(75, 86)
    assert data.notes == (
        "Official protocol: 1 of 4 rows have none of the 81 concepts and are kept.",
        "1 of 4 listed images are not on the disk and are left out.",
    )


def test_no_image_at_all(nus):
    shutil.rmtree(nus / "Flickr")
    text = message(nus)
    assert "none of the 4 listed (actor/0001_2124494179.jpg) is in DIR" in text
    assert "Flickr/TAG, images/TAG, images, the list's own paths" in text


def test_repeated_images(nus):
    path = nus / "ImageList/TrainImagelist.txt"
    path.write_text("\n".join([*TRAIN, *list(TRAIN)[:2]]))
    for concept in CONCEPTS:
        labels = nus / f"TrainTestLabels/Labels_{concept}_Train.txt"
        labels.write_text(labels.read_text() + ("1\n0\n" if concept == "airport" else "0\n0\n"))
    data = load(nus)
    assert data.notes[0] == (
        "2 lines of the list repeat an image: each is read once, and what its lines say "
        "differently (1 labels) is unknown."
    )
    assert len(data) == 4
    assert (data.labels[0] == -1).nonzero()[0].tolist() == [CONCEPTS.index("swimmers")]
    assert present(data)[0] == {"airport"}


@pytest.mark.parametrize("name", ["train", "database"])
def test_list_with_labels(official, tmp_path, name):
    shutil.copytree(official / "Flickr", tmp_path / "images")
    shutil.copy(official / "Concepts81.txt", tmp_path)
    (tmp_path / f"{name}.txt").write_text(
        "".join(
            f"images\\{image} {' '.join(str(int(c in has)) for c in CONCEPTS)}\n"
            for image, has in TRAIN.items()
        )
    )
    data = load(tmp_path, name)
    assert present(data) == list(TRAIN.values())
    assert data.image_ids[2] == "images/swimmers/0003_1 é.jpg"
    assert data.notes[0].startswith(f"Read from the list {name}.txt, which holds the labels too")
    assert DATASETS["nuswide"].splits(str(tmp_path)) == (name,)


def test_bad_list_with_labels(official, tmp_path):
    shutil.copy(official / "Concepts81.txt", tmp_path)
    for line in ("a.jpg " + "1 " * 80, "a.jpg " + "1 " * 80 + "2", "1 " * 81):
        (tmp_path / "train.txt").write_text(line)
        assert "train.txt line 1 must be an image and 81 times 0 or 1" in message(tmp_path)


def test_what_is_not_listed_is_absent(official):
    assert "leave it out" in message(official, unlisted="unknown")


def test_lengths_that_disagree(nus):
    (nus / "TrainTestLabels/Labels_swimmers_Train.txt").write_text("1\n0\n1\n\n")
    assert (
        "Labels_swimmers_Train.txt must have one label for each of the 4 images of "
        "TrainImagelist.txt, but has 3."
    ) in message(nus)


@pytest.mark.parametrize("content", ["1\n0\n2\n0\n", "1\n0\nyes\n0\n", "1\n0\n-1\n0\n"])
def test_labels_are_0_or_1(nus, content):
    (nus / "TrainTestLabels/Labels_swimmers_Train.txt").write_text(content)
    assert "Labels_swimmers_Train.txt must hold 0 or 1 a line, but holds" in message(nus)


def test_concepts(nus):
    path = nus / "Concepts81.txt"
    path.write_text("\n".join(CONCEPTS[:80]))
    assert "must list 81 different concepts, but lists 80, of which 80 differ" in message(nus)
    path.write_text("\n".join([*CONCEPTS[:80], CONCEPTS[0]]))
    assert "lists 81, of which 80 differ" in message(nus)
    path.unlink()
    assert "needs Concepts81.txt, but neither DIR nor its folder ConceptsList" in message(nus)


def test_missing_places(nus, tmp_path):
    assert message(tmp_path / "no").startswith("nuswide needs a folder, but DIR is none; get it")
    assert "as in nuswide-filtered:/data" in message("", kind="nuswide-filtered")
    assert "needs ImageList/TrainImagelist.txt" in message(tmp_path)
    assert "has no list of a split 'tets'; did you mean 'test'?" in message(nus, "tets")
    (nus / "TrainTestLabels/Labels_swimmers_Train.txt").unlink()
    assert "Labels_swimmers_Train.txt must be a readable file" in message(nus)
    shutil.rmtree(nus / "TrainTestLabels")
    assert "needs the folder TrainTestLabels" in message(nus)


def test_no_row_has_a_concept(nus):
    for path in (nus / "TrainTestLabels").glob("*_Train.txt"):
        path.write_text("0\n" * 4)
    text = message(nus, kind="nuswide-filtered")
    assert "4 of 4 rows have none of the 81 concepts; use nuswide" in text


def test_a_list_cannot_lead_out_of_the_folder(nus):
    (nus / "ImageList/TrainImagelist.txt").write_text("a\n..\\..\\x.jpg\nb\nc\n")
    assert "must lie in the folder" in message(nus)
