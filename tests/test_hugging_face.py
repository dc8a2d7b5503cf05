"""Data sets of Hugging Face, through its own library, without a network."""

import hashlib
import io
import json
import sys

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
