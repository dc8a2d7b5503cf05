"""Tars of WebDataset: read in place, and refused where they are broken or lead outside."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.errors import BadData


def png(red):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(file, "png")
    return file.getvalue()


def npy(values):
    file = io.BytesIO()
    np.save(file, np.asarray(values))
    return file.getvalue()


def write(path, members, kind=tarfile.REGTYPE):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            archive.addfile(info, io.BytesIO(content))
    return path


def record(**said):
    return json.dumps(said).encode()


SHARDS = {
    "000.tar": {
        "a/s0.png": png(0),
        "a/s0.json": record(labels=["cat", "Möwe"]),
        "s1.x.json": record(labels=[], caption="nothing"),
        "s1.x.png": png(1),
    },
    "001.tar": {
        "s2.json": record(labels=["hot dog"]),
        "s2.txt": b"a dog\n",
        "s2.JPG": png(2),
        "README": b"x",
        "sub/.hidden": b"x",
        "sub/.json": b"x",
        "s2.mask.png": b"x",
    },
}
# The key ends at the first dot.
SHARDS["000.tar"] = {
    name.replace("s1.x", "s1"): content for name, content in SHARDS["000.tar"].items()
}


@pytest.fixture
def folder(tmp_path):
    for name, members in SHARDS.items():
        write(tmp_path / "shards" / name, members)
    return tmp_path


def load(folder, pattern="*.tar", split="all", unlisted="negative"):
    return load_dataset(f"webdataset:{folder}/shards/{pattern}", split, unlisted)


def refusal(folder, pattern="*.tar", unlisted="negative"):
    with pytest.raises(BadData) as error:
        load(folder, pattern, unlisted=unlisted)
    return str(error.value).replace(f"{folder}/shards/", "").replace(f"{folder}/shards", "DIR")


@pytest.mark.parametrize("pattern", ["*.tar", "{000..001}.tar"])
def test_members_become_examples(folder, pattern):
    data = load(folder, pattern)
    assert data.class_names == ("Möwe", "cat", "hot dog")
    assert data.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert data.image_ids == ("000.tar/a/s0", "000.tar/s1", "001.tar/s2")
    assert data.captions == ("", "nothing", "a dog")
    for i in (2, 0, 1):
        assert data.open_image(i).getpixel((0, 0)) == (i, 0, 0)
        assert data.digest(i) == hashlib.sha256(png(i)).hexdigest()
    assert data.paths is None
    assert "does not say what a class means" in refusal(folder, pattern, "stated")
    assert load(folder, pattern, "train", "unknown").labels.tolist()[1] == [-1] * 3
    assert DATASETS["webdataset"].splits(f"{folder}/shards/{pattern}") == ("train",)


def test_negatives_say_that_the_rest_is_unknown(folder):
    labels = record(labels=["cat"], negatives=["Möwe"])
    write(folder / "shards/002.tar", {"s3.webp": png(3), "s3.json": labels})
    assert load(folder, unlisted="stated").labels.tolist()[-1] == [0, 1, -1]


def test_numbers_of_classes(folder):
    (folder / "shards" / "classnames.txt").write_text("hot dog\ncat\nMöwe\n")
    write(folder / "shards/002.tar", {"s3.png": png(3), "s3.json": record(labels=[2, "cat"])})
    data = load(folder)
    assert data.class_names == ("hot dog", "cat", "Möwe")
    assert data.labels.tolist()[-1] == [0, 1, 1]


def test_layout_of_clip_benchmark(tmp_path):
    (tmp_path / "classnames.txt").write_text("cat\nhot dog\n")
    (tmp_path / "dataset_type.txt").write_text("multilabel\n")
    members = {"s0.webp": png(0), "s0.npy": npy([1, 0]), "s1.webp": png(1), "s1.npy": npy([1, 1])}
    write(tmp_path / "shards" / "0.tar", members)
    data = load(tmp_path, unlisted="stated")
    assert (data.class_names, data.labels.tolist()) == (("cat", "hot dog"), [[1, 0], [1, 1]])
    write(tmp_path / "shards" / "0.tar", members | {"s1.npy": npy(np.array([-1, 1], np.int8))})
    assert load(tmp_path, unlisted="unknown").labels.tolist() == [[1, 0], [-1, 1]]
    assert "has labels of 0 and of -1, which cannot both be absent" in refusal(tmp_path)
    (tmp_path / "dataset_type.txt").write_text("retrieval\n")
    assert refusal(tmp_path).endswith("must say multilabel, but says 'retrieval'.")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npy([1]), "s0.npy in 0.tar must hold 1, 0 or -1 for each of the 2 classes, but holds"),
        (npy([1, 2]), "s0.npy in 0.tar must hold 1, 0 or -1 for each of the 2 classes, but holds"),
        (npy([1, 0])[:-1], "s0.npy in 0.tar must hold a plain array, but is damaged or holds"),
        (npy(np.array([1, None])), "s0.npy in 0.tar must hold a plain array, but is damaged or"),
    ],
)
def test_bad_arrays(tmp_path, content, expected):
    (tmp_path / "classnames.txt").write_text("cat\nhot dog\n")
    write(tmp_path / "shards" / "0.tar", {"s0.png": png(0), "s0.npy": content})
    assert refusal(tmp_path).startswith(expected)


def test_numbers_below_0_and_negatives_of_one_example(tmp_path):
    (tmp_path / "classnames.txt").write_text("cat\nhot dog\n")
    members = {"0.png": png(0), "0.json": record(labels=[0], negatives=[1])}
    tar = write(
        tmp_path / "shards" / "0.tar", members | {"1.png": png(1), "1.json": record(labels=[1])}
    )
    assert load(tmp_path, unlisted="stated").labels.tolist() == [[1, 0], [-1, 1]]
    write(tar, {"0.png": png(0), "0.json": record(labels=[-1])})
    assert refusal(tmp_path) == (
        "0.json in 0.tar must number a class in 'labels', but has -1, and classnames.txt has 2."
    )
    assert refusal(tmp_path, "{0..1000000}.tar") == (
        "A range of tars must go up, and hold at most 1,000,000, but got {0..1000000}."
    )


def test_tars_of_one_name(tmp_path):
    for i, part in enumerate(["a", "b"]):
        members = {"s.png": png(i), "s.json": record(labels=[part])}
        write(tmp_path / "shards" / part / "0.tar", members)
    data = load(tmp_path, "*/0.tar")
    assert data.image_ids == ("a/0.tar/s", "b/0.tar/s")
    assert data.labels.tolist() == [[1, 0], [0, 1]]
    assert [data.open_image(i).getpixel((0, 0))[0] for i in range(2)] == [0, 1]


def test_one_key_in_two_tars(folder):
    write(folder / "shards/002.tar", {"s2.png": png(3), "s2.json": record(labels=["cat"])})
    data = load(folder)
    assert data.image_ids[2:] == ("001.tar/s2", "002.tar/s2")
    assert data.notes == ("1 keys are in several tars, and taken for different images.",)


GOOD = {"k.png": png(0), "k.json": record(labels=["a"])}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (GOOD | {"../x.png": png(1)}, "9.tar must hold members below its own folder, but holds '."),
        (GOOD | {"/x.png": png(1)}, "9.tar must hold members below its own folder, but holds '/x"),
        (GOOD | {"k.jpeg": png(1)}, "9.tar must hold one image for each key, but holds another f"),
        ({"k.png": png(1)}, "k.png in 9.tar needs its labels beside it, in .json or .npy, but "),
        ({"k.json": GOOD["k.json"]}, "k.json in 9.tar needs an image of the same key beside it ("),
        (GOOD | {"k.json": b"{"}, "k.json in 9.tar must be whole JSON, but is not ("),
        (GOOD | {"k.json": b"[]"}, "k.json in 9.tar must be an object with 'labels', but is []."),
        (
            GOOD | {"k.json": record(labels=[0])},
            "k.json in 9.tar must number a class in 'labels', but has 0, and there is no "
            "classnames.txt beside it.",
        ),
        (
            GOOD | {"k.json": record(labels="a")},
            "k.json in 9.tar must hold a list in 'labels', but holds \"a\".",
        ),
        (
            GOOD | {"k.json": record(labels=[""])},
            "k.json in 9.tar must name classes in 'labels', but has \"\".",
        ),
        (
            GOOD | {"k.json": record(labels=[True])},
            "k.json in 9.tar must name classes in 'labels', but has true.",
        ),
        (GOOD | {"k.txt": b"\xff"}, "k.txt in 9.tar must be UTF-8 text, but is not."),
        (
            GOOD | {"j.png": png(1), "j.npy": npy([1])},
            "9.tar must label all examples one way, but 9.tar/j has .npy and 9.tar/k has .json.",
        ),
    ],
)
def test_bad_members(tmp_path, members, expected):
    write(tmp_path / "shards" / "9.tar", members)
    assert refusal(tmp_path, "9.tar").startswith(expected)


def test_links_in_a_tar(tmp_path):
    write(tmp_path / "shards" / "9.tar", {"k.png": b""}, tarfile.SYMTYPE)
    assert refusal(tmp_path).startswith("9.tar must hold plain files, but 'k.png' is a link or a")


@pytest.mark.parametrize("cut", [300, 600, 1536, 2200])
def test_a_tar_that_is_cut_off(folder, cut):
    path = folder / "shards" / "000.tar"
    path.write_bytes(path.read_bytes()[:cut])
    assert refusal(folder).startswith("000.tar must be a whole tar, not compressed, but is not (")


def test_other_files(folder):
    (folder / "shards" / "002.tar").write_bytes(b"no tar at all" * 100)
    assert refusal(folder).startswith("002.tar must be a whole tar, not compressed, but is not (")
    assert refusal(folder, "{001..003}.tar") == (
        "webdataset needs every tar of its range, but 1 of 3 are not there: 003.tar."
    )
    assert refusal(folder, "{3..1}.tar").startswith("A range of tars must go up")
    assert "names none" in refusal(folder, "*.tgz")


def test_a_damaged_image_is_named(tmp_path):
    write(tmp_path / "shards" / "0.tar", GOOD | {"k.png": b"no image"})
    data = load(tmp_path)
    with pytest.raises(BadData, match=r"Image k.png in .*0.tar cannot be read \(it is no image"):
        data.open_image(0)


def test_a_tar_that_shrinks_later(folder):
    data = load(folder)
    (folder / "shards" / "000.tar").write_bytes(b"")
    with pytest.raises(BadData, match="the tar has become shorter"):
        data.digest(0)
