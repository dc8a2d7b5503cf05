"""Class folders: an image in several of them has several labels."""

import shutil

import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.errors import BadData


def draw(path, red):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for i, name in enumerate(["cat/1.png", "cat/sub dir/2.PNG", "hot dog/1.png"]):
        draw(root / name, 70 * i)
    (root / "Möwe").mkdir()
    return root


def load(root, split="all", unlisted="negative"):
    return load_dataset(f"folder:{root}", split, unlisted)


def refusal(root, split="all", unlisted="negative"):
    with pytest.raises(BadData) as error:
        load(root, split, unlisted)
    return str(error.value).replace(str(root), "DIR")


def test_a_folder_is_a_class(folder):
    data = load(folder)
    assert data.class_names == ("Möwe", "cat", "hot dog")
    assert data.image_ids == ("cat/1.png", "cat/sub dir/2.PNG", "hot dog/1.png")
    assert data.labels.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert [data.open_image(i).getpixel((0, 0))[0] for i in range(3)] == [0, 70, 140]
    assert data.notes == ()
    assert DATASETS["folder"].splits(str(folder)) == ("train",)
    assert load(folder, "train", "unknown").labels.tolist()[0] == [-1, 1, -1]
    assert "does not say what a class means" in refusal(folder, unlisted="stated")


def test_the_same_bytes_are_one_image(folder):
    shutil.copy(folder / "cat/1.png", folder / "hot dog/other name.png")
    shutil.copy(folder / "cat/1.png", folder / "cat/again.png")
    data = load(folder)
    assert data.image_ids == ("cat/1.png", "cat/sub dir/2.PNG", "hot dog/1.png")
    assert data.labels.tolist() == [[0, 1, 1], [0, 1, 0], [0, 0, 1]]
    assert data.notes == (
        "2 of 5 files hold the bytes of another and are one image with it, so that 1 images have "
        "several classes.",
    )


def test_two_files_of_one_size(folder):
    """What is read is told by the size, so two alike suffice."""
    noise = Image.effect_noise((32, 32), 90)
    for name in ("cat/noise.png", "hot dog/noise.png"):
        noise.save(folder / name)
    assert load(folder).labels.tolist() == [[0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1]]


def test_what_is_left_out_is_noted(folder):
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "cat" / ".DS_Store").write_text("x")
    draw(folder / ".cache" / "1.png", 1)
    draw(folder / "stray.png", 2)
    data = load(folder)
    assert len(data) == 3
    assert data.notes == ("2 files are no images in a class folder, and 2 are hidden: left out.",)


def test_split_folders(tmp_path):
    for i, name in enumerate(["train/cat/1.png", "train/dog/2.png", "test/dog/3.png"]):
        draw(tmp_path / name, i)
    shutil.copy(tmp_path / "train/cat/1.png", tmp_path / "test/dog/4.png")
    assert DATASETS["folder"].splits(str(tmp_path)) == ("train", "test")
    assert load(tmp_path, "train").labels.tolist() == [[1, 0], [0, 1]]
    test = load(tmp_path, "test")
    assert (test.image_ids, test.labels.tolist()) == (
        ("test/dog/3.png", "test/dog/4.png"),
        [[0, 1], [0, 1]],
    )
    assert len(load(tmp_path)) == 4
    assert refusal(tmp_path, "dev") == "DIR has no split 'dev'; known are all, test, train."
    draw(tmp_path / "bird" / "5.png", 5)
    assert refusal(tmp_path) == (
        "DIR must hold folders of classes or of splits, but 'train' looks like a split and 'bird' "
        "does not; take one of the two out, or rename it."
    )


def test_a_class_called_train(tmp_path):
    for i, name in enumerate(["train/1.png", "car/2.png"]):
        draw(tmp_path / name, i)
    assert load(tmp_path).class_names == ("car", "train")


def test_links(folder, tmp_path):
    draw(tmp_path / "outside.png", 9)
    (folder / "cat" / "inside.png").symlink_to(folder / "hot dog" / "1.png")
    assert load(folder).labels.tolist() == [[0, 1, 0], [0, 1, 1], [0, 1, 0]]
    link = folder / "cat" / "out.png"
    link.symlink_to(tmp_path / "outside.png")
    assert refusal(folder) == (
        "DIR must hold its own files, but DIR/cat/out.png is a link that leads out of it; copy "
        "what it leads to."
    )
    link.unlink()
    link.symlink_to(tmp_path / "gone.png")
    assert refusal(folder) == "DIR must hold images, but DIR/cat/out.png is a link to nothing."
    link.unlink()
    (folder / ".cache").mkdir()
    assert ".cache" not in load(folder).class_names
    (folder / "fox").symlink_to(tmp_path, target_is_directory=True)
    assert refusal(folder) == "DIR must hold no links to folders, but DIR/fox is one."


def test_refusals(folder, tmp_path):
    draw(folder / "CAT" / "9.png", 3)
    assert refusal(folder) == (
        "DIR must write each class one way, but 'CAT' and 'cat' differ only in case, spaces or "
        "Unicode form; rename one."
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty) == "DIR must hold a folder for each class, but holds no folder."
    (empty / "cat").mkdir()
    assert refusal(empty).startswith("DIR must hold images in its class folders, but holds none")
    assert refusal(tmp_path / "none").endswith("as in folder:images, but DIR is no folder.")
