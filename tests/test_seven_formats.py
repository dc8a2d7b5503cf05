"""The same images described in seven formats are one data set."""

import hashlib

import formats
import numpy as np
import pytest

from ccr_diag.arrays import UNKNOWN
from ccr_diag.data import load_dataset

WRITERS = {
    "COCO": (formats.write_coco, "stated"),
    "VOC": (formats.write_voc, "stated"),
    "CVAT": (formats.write_cvat, "negative"),
    "Open Images": (formats.write_openimages, "stated"),
    "YOLO": (formats.write_yolo, "negative"),
    "CSV": (formats.write_csv, "negative"),
    "Parquet": (formats.write_parquet, "negative"),
}
WITH_UNKNOWN = ("VOC", "Open Images")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return formats.draw(tmp_path_factory.mktemp("seven") / "images")


def read(name, drawn, folder):
    """What a format says: stem → (labels in one order of classes, content key)."""
    write, unlisted = WRITERS[name]
    data = load_dataset(write(folder / "a b é", drawn), formats.SPLIT, unlisted)
    assert set(data.class_names) == set(formats.CLASSES)
    data = data.in_order(formats.CLASSES)
    assert not data.new.any()
    # COCO and Open Images name an image by number; others by file: the stem is what all have.
    stems = [path.stem for path in data.paths]
    assert len(set(stems)) == len(data)
    return {stem: (data.labels[i].tolist(), data.digest(i)) for i, stem in enumerate(stems)}


def truth(drawn):
    """What was drawn, by the same keys."""
    files = [drawn.folder / f"{stem}.jpg" for stem in drawn.stems]
    keys = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return {
        stem: (row.tolist(), key)
        for stem, row, key in zip(drawn.stems, drawn.labels, keys, strict=True)
    }


def test_the_images_show_every_case(drawn):
    assert len(drawn.stems) == 60
    assert len({digest for _, digest in truth(drawn).values()}) == 60
    assert (drawn.labels == 1).any(axis=0).all()
    assert (drawn.labels == 0).any(axis=0).all()
    assert not drawn.labels[0].any()


@pytest.mark.parametrize("name", WRITERS)
def test_sixty_images_are_one_label_matrix_in_every_format(name, drawn, tmp_path):
    assert read(name, drawn, tmp_path) == truth(drawn)


@pytest.mark.parametrize("name", WITH_UNKNOWN)
def test_what_is_difficult_in_one_and_unverified_in_the_other_is_unknown(name, tmp_path):
    drawn = formats.draw(tmp_path / "images", unknown=True)
    assert 20 < np.count_nonzero(drawn.labels == UNKNOWN) < 100
    assert read(name, drawn, tmp_path) == truth(drawn)
