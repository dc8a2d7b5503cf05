"""Data sets as manifests: what is written is what was read."""

import json
import shutil
import sys
from dataclasses import replace

import formats
import numpy as np
import pytest
from PIL import Image
from test_dataset import dataset

from ccr_diag.data import load_dataset, load_declared, splits_of
from ccr_diag.data.conversion import readable, without_unions, write_manifest
from ccr_diag.errors import BadConfig, BadData

SUFFIXES = (".parquet", ".csv", ".jsonl")
UNDECLARED = ("CVAT", "YOLO", "CSV")
FORMATS = {
    "COCO": (formats.write_coco, False),
    "VOC": (formats.write_voc, True),
    "Open Images": (formats.write_openimages, True),
    "CVAT": (formats.write_cvat, False),
    "YOLO": (formats.write_yolo, False),
    "CSV": (formats.write_csv, False),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """``read(name)`` is a format's name and what is read of it, 20 images."""
    found = {}

    def of(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name.replace(" ", ""))
            write, unknown = FORMATS[name]
            spec = write(folder / "data", formats.draw(folder / "images", 20, unknown))
            unlisted = "negative" if name in UNDECLARED else "stated"
            found[name] = (spec, load_dataset(spec, "train", unlisted))
        return found[name]

    return of


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_manifest_reads_as_what_it_was_written_from(ccr, read, tmp_path, name, suffix):
    spec, data = read(name)
    path = tmp_path / f"all{suffix}"
    flags = ["--unlisted", "negative"] if name in UNDECLARED else []
    result = ccr("data", "convert", spec, *flags, "-o", path)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert f"Written: {path}, 20 images in train" in result.stderr
    assert splits_of(f"manifest:{path}") == ("train",)
    # Nothing needs to be declared any more.
    back = load_dataset(f"manifest:{path}", "train")
    assert set(back.class_names) == set(data.class_names)
    if suffix == ".parquet":
        assert back.class_names == data.class_names
        assert back.class_ids == data.class_ids
        assert back.image_ids == data.image_ids
        assert "not hold" not in result.stderr
    np.testing.assert_array_equal(back.in_order(data.class_names).labels, data.labels)
    assert back.captions == data.captions
    assert [back.digest(i) for i in range(20)] == [data.digest(i) for i in range(20)]
    assert list(tmp_path.iterdir()) == [path]


def files(folder, n=4):
    """The toy data set with image files."""
    paths = tuple(folder / f"{i} ü.png" for i in range(n))
    for i, path in enumerate(paths):
        dataset().open_image(i).save(path)
    return dataset(paths=paths, split="train")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_splits_captions_and_new_classes(tmp_path, suffix):
    whole = files(tmp_path)
    train = whole.subset(np.array([2, 0]))
    test = dataset(paths=whole.paths, captions=('a "cat"', "", "x,y;\nz", "ж")).subset(
        np.array([1, 3])
    )
    path = tmp_path / f"all{suffix}"
    lost = write_manifest(path, [train, test])
    assert bool(lost) == (suffix != ".parquet")
    for data in (train, test):
        back = load_dataset(f"manifest:{path}", data.split)
        np.testing.assert_array_equal(back.labels, data.labels)
        assert (back.captions or ("", "")) == (data.captions or ("", ""))
        assert [back.paths[i].samefile(data.paths[i]) for i in range(2)] == [True, True]
    if suffix == ".parquet":
        assert (back.new_names, back.image_ids) == (("dog",), ("b", "d"))
    else:
        assert lost == (
            f"{path} does not hold which classes are new, the ids of the images; a .parquet "
            "manifest does.",
        )


def test_what_a_file_says_itself_needs_no_declaration_and_a_run_has_none_for_it(tmp_path):
    data = files(tmp_path)
    write_manifest(tmp_path / "all.parquet", [data])
    (tmp_path / "plain.csv").write_text("image,labels\n0 ü.png,cat\n1 ü.png,dog\n")
    says, open_ = f"manifest:{tmp_path / 'all.parquet'}", f"manifest:{tmp_path / 'plain.csv'}"
    for otherwise in ("negative", "unknown", "stated"):
        found = load_declared(says, "train", "stated", otherwise)
        np.testing.assert_array_equal(found.labels, data.labels)
    for otherwise, value in (("negative", 0), ("unknown", -1)):
        assert load_declared(open_, "train", "stated", otherwise).labels[0, 1] == value
        assert load_declared(open_, "train", otherwise, "stated").labels[0, 1] == value
    with pytest.raises(BadData, match="does not say what a class means that an image does not"):
        load_declared(open_, "train", "stated", "stated")
    with pytest.raises(BadData, match="but got --unlisted negative; leave it out"):
        load_declared(says, "train", "negative", "stated")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_lies_below_the_manifest_moves_with_it(tmp_path, suffix):
    (tmp_path / "a" / "images").mkdir(parents=True)
    data = files(tmp_path / "a" / "images")
    write_manifest(tmp_path / "a" / f"all{suffix}", [data])
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = load_dataset(f"manifest:{tmp_path / 'b' / f'all{suffix}'}", "train")
    assert moved.paths == tuple(tmp_path / "b" / "images" / f"{i} ü.png" for i in range(4))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_lies_elsewhere_is_named_absolutely(tmp_path, monkeypatch, suffix):
    (tmp_path / "images").mkdir()
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    data = files(tmp_path / "a" / ".." / "images")
    write_manifest(tmp_path / "a" / f"all{suffix}", [data])
    shutil.move(tmp_path / "a" / f"all{suffix}", tmp_path / f"all{suffix}")
    moved = load_dataset(f"manifest:{tmp_path / f'all{suffix}'}", "train")
    assert moved.paths == tuple(tmp_path / "images" / f"{i} ü.png" for i in range(4))


def test_splits_made_of_others_are_left_out(tmp_path):
    whole = files(tmp_path)
    train, val = (whole.subset(np.array(rows)) for rows in ([0, 1], [2, 3]))
    named = {"trainval": whole, "train": train, "val": val}
    splits = [replace(data, split=split) for split, data in named.items()]
    assert [data.split for data in without_unions(splits)] == ["train", "val"]
    assert len(without_unions(splits[:2])) == 2  # one alone does not make it
    with pytest.raises(BadData) as error:
        write_manifest(tmp_path / "x.parquet", splits[:2])
    assert str(error.value) == (
        "A manifest lists each image in one split, but 2 are in trainval and in train, such as "
        f"{whole.paths[0]}; choose one of them by --split."
    )
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": None}, "names image files, but the images of toy are none: they are drawn"),
        (
            {"class_names": ("cat", "Cat", "dog")},
            "A manifest of toy must write each class one way, but 'cat' and 'Cat' differ only",
        ),
    ],
)
def test_what_no_manifest_holds(tmp_path, changes, message):
    data = dataset(**({"paths": files(tmp_path).paths} | changes))
    with pytest.raises(BadData, match=message):
        write_manifest(tmp_path / "x.parquet", [data])
    assert not (tmp_path / "x.parquet").exists()


def test_files_twice_classes_that_differ_and_blanks(tmp_path):
    data = files(tmp_path)
    twice = dataset(paths=(*data.paths[:3], data.paths[0]))
    with pytest.raises(BadData, match="split test of toy has 1 files twice; join their rows"):
        write_manifest(tmp_path / "x.parquet", [twice])
    other = dataset(paths=data.paths, class_names=("cat", "dog", "cow"))
    with pytest.raises(BadData, match="but train and test of toy have others; choose one"):
        write_manifest(tmp_path / "x.parquet", [data, other])
    blank = dataset(paths=data.paths, class_names=("cat", "dog", "horse "))
    for suffix in (".csv", ".jsonl"):
        with pytest.raises(BadData, match="no blank at the end of a name, .* 'horse '; write"):
            write_manifest(tmp_path / f"x{suffix}", [blank])
    assert not list(tmp_path.glob("x*"))


def test_unreadable_images_are_left_out_where_asked(ccr, tmp_path):
    drawn = formats.draw(tmp_path / "images", 6)
    spec = formats.write_coco(tmp_path / "data", drawn)
    broken = tmp_path / "data" / "train" / f"{drawn.stems[2]}.jpg"
    broken.unlink()
    broken.write_bytes(b"no image")
    path = tmp_path / "all.jsonl"
    assert ccr("data", "convert", spec, "-o", path).exit_code == 0
    assert len(path.read_text().splitlines()) == 6
    again = ccr("data", "convert", spec, "-o", path)
    assert again.exit_code == 2
    assert "all.jsonl exists; add --overwrite" in again.stderr
    result = ccr("data", "convert", spec, "-o", path, "--overwrite", "--skip-unreadable")
    assert result.exit_code == 0
    (line,) = [line for line in result.stderr.splitlines() if "Left out" in line]
    assert line.startswith(f"Note: Left out: Image {broken} cannot be read")
    images = [json.loads(line)["image"] for line in path.read_text().splitlines()]
    assert images == [f"data/train/{stem}.jpg" for i, stem in enumerate(drawn.stems) if i != 2]


def test_nothing_readable_is_refused():
    def broken(i):
        raise BadData(f"Image {i} is none.")

    with pytest.raises(BadData) as error:
        readable(dataset(open_image=broken))
    assert str(error.value) == (
        "A manifest needs an image, but none of 4 of toy, split test, can be opened; the first: "
        "Image 0 is none."
    )
    kept, reasons = readable(dataset())
    assert (len(kept), reasons) == (4, ())


def test_other_names_and_archives_are_refused_before_any_reading(ccr, tmp_path):
    result = ccr("data", "convert", "coco:/nowhere", "-o", tmp_path / "all.xml")
    assert result.exit_code == 2
    assert "must be a file named .parquet, .csv, .jsonl, but got" in result.stderr
    result = ccr("data", "convert", "scenes", "--split", "test", "-o", tmp_path / "all.csv")
    assert result.exit_code == 2
    assert "names image files, but the images of scenes:twemoji are none" in result.stderr
    with pytest.raises(BadConfig):
        write_manifest(tmp_path / "all.txt", [])


def test_parquet_without_pyarrow_is_refused_before_any_reading(ccr, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = ccr("data", "convert", "coco:/nowhere", "-o", tmp_path / "all.parquet")
    assert result.exit_code == 2
    assert "needs pyarrow, which is not installed" in result.stderr


def test_what_was_met_is_told_and_a_split_asked_for_twice_is_written_once(ccr, tmp_path):
    for name in "ab":
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    (tmp_path / "own.csv").write_text("image,labels\na.png,cat;cat\nb.png,dog\n")
    asked = ["data", "convert", f"manifest:{tmp_path / 'own.csv'}", "--unlisted", "negative"]
    result = ccr(*asked, "--split", "train", "--split", "train", "-o", tmp_path / "all.csv")
    assert "Note: train: 1 class names that a row repeats count once." in result.stderr
    assert result.stderr.endswith("2 images in train\n")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 3


def test_the_dry_run_writes_nothing(ccr, read, tmp_path):
    spec, _ = read("COCO")
    flags = ["-o", tmp_path / "all.csv", "--skip-unreadable", "--dry-run"]
    result = ccr("data", "convert", spec, *flags)
    first, *_, opens, writes = result.stdout.splitlines()
    assert first == "Data: coco:data, split train: 20 images, 8 classes"
    assert (opens, writes) == ("Opens: every image", f"Writes: {tmp_path / 'all.csv'}")
    assert not list(tmp_path.iterdir())
