"""Data sets of Hugging Face, through its own library, without a network."""

import hashlib
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.errors import BadData, MissingExtra


def png(red):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(file, "png")
    return file.getvalue()


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def table(labels, kind, first=0, **columns):
    """Rows whose images are red by their number, from the first."""
    import datasets

    features = {
        "image": datasets.Image(),
        "labels": datasets.List(kind),
        **{
            name: datasets.List(kind) if name == "negatives" else datasets.Value("string")
            for name in columns
        },
    }
    stored = [{"bytes": png(first + i), "path": None} for i in range(len(labels))]
    return datasets.Dataset.from_dict(
        {"image": stored, "labels": labels, **columns}, features=datasets.Features(features)
    )


@pytest.fixture
def numbered(tmp_path):
    """Two splits of numbered classes."""
    import datasets

    kind = datasets.ClassLabel(names=["cat", "Möwe", "hot dog"])
    both = datasets.DatasetDict(
        {
            "train": table([[0, 2], []], kind, caption=["x", None]),
            "test": table([[1]], kind, first=9, caption=["y"]),
        }
    )
    both.save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_numbered_classes(numbered):
    data = load_dataset(f"hf:{numbered}", "train", "negative")
    assert data.class_names == ("cat", "Möwe", "hot dog")
    assert data.labels.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert data.captions == ("x", "")
    assert data.image_ids == ("train/0", "train/1")
    for i in (1, 0):
        assert data.open_image(i).getpixel((0, 0)) == (i, 0, 0)
        assert data.digest(i) == hashlib.sha256(png(i)).hexdigest()
    test = load_dataset(f"hf:{numbered}", "test", "unknown")
    assert test.labels.tolist() == [[-1, 1, -1]]
    assert test.open_image(0).getpixel((0, 0)) == (9, 0, 0)
    assert test.digest(0) == hashlib.sha256(png(9)).hexdigest()
    assert len(load_dataset(f"hf:{numbered}", "all", "negative")) == 3
    assert DATASETS["hf"].splits(str(numbered)) == ("train", "test")
    with pytest.raises(BadData, match="does not say what a class means"):
        load_dataset(f"hf:{numbered}", "all")


def test_named_classes_and_negatives(tmp_path):
    import datasets

    one = table([["b", "a"], []], datasets.Value("string"), negatives=[[], ["a"]])
    one.save_to_disk(tmp_path / "saved")
    data = load_dataset(f"hf:{tmp_path / 'saved'}", "all")
    assert data.class_names == ("a", "b")
    assert data.labels.tolist() == [[1, 1], [0, -1]]


def test_a_folder_of_images_with_metadata(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    lines = []
    for i, labels in enumerate([["b"], ["a", "b"]]):
        (folder / f"{i}.png").write_bytes(png(i))
        lines.append(json.dumps({"file_name": f"{i}.png", "labels": labels}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    data = load_dataset(f"hf:{folder}", "train", "negative")
    assert data.labels.tolist() == [[0, 1], [1, 1]]
    assert data.open_image(1).getpixel((0, 0)) == (1, 0, 0)
    assert data.digest(1) == hashlib.sha256(png(1)).hexdigest()


def test_columns_that_could_both_be_meant(tmp_path):
    import datasets

    one = table([["a"]], datasets.Value("string"))
    one = one.add_column("tags", [["x"]])
    one.save_to_disk(tmp_path / "two")
    with pytest.raises(BadData) as error:
        load_dataset(f"hf:{tmp_path / 'two'}", "all", "negative")
    assert str(error.value) == (
        f"hf:{tmp_path / 'two'} must have one column that is a list of class labels or of text, "
        "but has 2 (labels, tags); its columns are image: Image(mode=None, decode=True), "
        "labels: List(Value('string')), tags: List(Value('string'))."
    )
    one.remove_columns(["labels", "tags"]).save_to_disk(tmp_path / "none")
    with pytest.raises(BadData, match="but has 0; its columns are image: Image"):
        load_dataset(f"hf:{tmp_path / 'none'}", "all", "negative")


def test_a_row_without_labels(tmp_path):
    import datasets

    table([["a"], None], datasets.Value("string")).save_to_disk(tmp_path / "saved")
    with pytest.raises(BadData, match="row 1 of split 'train' must hold classes in 'labels', but"):
        load_dataset(f"hf:{tmp_path / 'saved'}", "all", "negative")


def test_what_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(BadData, match="hf:nobody/nothing must be a folder, or a data set on the h"):
        load_dataset("hf:nobody/nothing", "all")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r'run pip install "ccr-diag\[hf\]"'):
        load_dataset(f"hf:{tmp_path}", "all")


def test_numbers_of_no_class_and_damaged_rows(tmp_path):
    import datasets
    import pyarrow as pa

    folder = tmp_path / "saved"
    table([[0], [1]], datasets.ClassLabel(names=["cat", "dog"])).save_to_disk(folder)
    (path,) = folder.glob("*.arrow")
    with pa.memory_map(str(path)) as file:
        schema = pa.ipc.open_stream(file).schema
    stored = pa.array([{"bytes": png(0), "path": None}] * 2, schema.field("image").type)
    offsets = pa.py_buffer(np.array([0, 2**30, 2], np.int32))
    values = pa.array([0, 7])
    damaged = pa.ListArray.from_buffers(
        schema.field("labels").type, 2, [None, offsets], children=[values]
    )
    for labels, expected in (
        (
            pa.array([[0], [7]]),
            "row 1 of split 'train' must number its 2 classes from 0, but has 7",
        ),
        (damaged, "cannot be read (ArrowInvalid: "),
    ):
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as out:
            columns = [stored, labels.cast(schema.field("labels").type)]
            out.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        with pytest.raises(BadData) as error:
            load_dataset(f"hf:{folder}", "all", "negative")
        assert expected in str(error.value)


def test_splits_and_columns_that_differ(tmp_path):
    import datasets

    text = datasets.Value("string")
    mixed = {"train": table([["a"]], text), "test": table([["b"]], text, caption=["x"])}
    datasets.DatasetDict(mixed).save_to_disk(tmp_path / "mixed")
    with pytest.raises(BadData, match="in every split, but 'test' has others than 'train'"):
        load_dataset(f"hf:{tmp_path / 'mixed'}", "all", "negative")
    one = table([["a", None]], text)
    one.save_to_disk(tmp_path / "nothing")
    with pytest.raises(BadData, match="row 0 of split 'train' must hold classes in 'labels', but"):
        load_dataset(f"hf:{tmp_path / 'nothing'}", "all", "negative")
    one.add_column("negatives", ["b"]).save_to_disk(tmp_path / "types")
    with pytest.raises(BadData, match="must hold negatives of the same type as labels, but does"):
        load_dataset(f"hf:{tmp_path / 'types'}", "all")


def test_labels_in_one_text_and_an_image_that_is_not_there(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "labels": datasets.Value("string")})
    rows = {"image": [{"bytes": png(1), "path": None}, None], "labels": ["b;a", None]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    data = load_dataset(f"hf:{tmp_path / 'saved'}", "all", "negative")
    assert data.labels.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(BadData, match="Image 1 of split train is missing; take its row out"):
        data.digest(1)
