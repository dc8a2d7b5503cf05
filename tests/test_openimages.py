import random
import sys

import numpy as np
import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.data.class_names import prompt_name
from ccr_diag.data.openimages import free_memory
from ccr_diag.errors import BadData, MissingExtra

CLASSES = {
    "/m/0bt9lr": "Dog",
    "/m/01226z": "Football",
    "/m/05ctyq": "Football",
    "/g/11b_6q": "Tie, bow",
    "/m/0_x": "Édith",
}
ROWS = [
    ("000026e7ee790996", "verification", "/m/0bt9lr", "1"),
    ("000026e7ee790996", "verification", "/m/01226z", "0"),
    ("000026e7ee790996", "machine", "/m/05ctyq", "1.0"),
    ("000062a39995e348", "crowdsource-verification", "/g/11b_6q", "1.0"),
    ("000062a39995e348", "verification", "/g/11b_6q", "0"),
    ("000062a39995e348", "verification", "/m/0bt9lr", "0"),
    ("000062a39995e348", "verification", "/m/0bt9lr", "0"),
    ("0000c64e1253d68f", "verification", "/m/0bt9lr", "0.7"),
    ("0000ff00ff00ff00", "verification", "/m/0bt9lr", "1"),
    ("0000ff00ff00ff00", "verification", "/m/0_x", "1"),
]
LABELS = {  # −1 where nothing is listed
    "000026e7ee790996": [1, 0, -1, -1, -1],
    "000062a39995e348": [0, -1, -1, -1, -1],
}
IMAGES = ("000026e7ee790996", "000062a39995e348", "0000c64e1253d68f", "0000aaaaaaaaaaaa")
HEADER = "ImageID,Source,LabelName,Confidence\n"


def as_csv(rows):
    return "".join(",".join(row) + "\n" for row in rows)


def names_csv(classes, header=""):
    """Quoted where a name holds a comma, as the official file is."""
    return header + "".join(
        f'{mid},"{name}"\n' if "," in name else f"{mid},{name}\n" for mid, name in classes.items()
    )


def write_images(folder, images=IMAGES):
    folder.mkdir(parents=True, exist_ok=True)
    for n, i in enumerate(images):
        Image.new("RGB", (4, 4), (50 * n, 9, 9)).save(folder / f"{i}.jpg")


@pytest.fixture
def six(tmp_path):
    """The names of V6, with a header in the descriptions."""
    folder = tmp_path / "Open Images é"
    write_images(folder / "train")
    (folder / "oidv6-class-descriptions.csv").write_text(
        names_csv(CLASSES, "LabelName,DisplayName\n"), encoding="utf-8"
    )
    (folder / "oidv6-train-annotations-human-imagelabels.csv").write_text(HEADER + as_csv(ROWS))
    return folder


def load(folder, split="train", kind="openimages", unlisted="stated"):
    return load_dataset(f"{kind}:{folder}", split, unlisted)


def message(folder, *args, **kwargs):
    with pytest.raises(BadData) as error:
        load(folder, *args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(folder) or "\0", "DIR")


def labels_of(data):
    return {i: row.tolist() for i, row in zip(data.image_ids, data.labels, strict=True)}


def test_verified_labels_and_the_rest_unknown(six):
    data = load(six)
    assert labels_of(data) == LABELS
    assert data.class_ids == tuple(CLASSES)
    assert data.name == f"openimages:{six.name}"
    assert data.labels.dtype == np.int8
    assert data.open_image(1).getpixel((0, 0))[0] in range(45, 56)
    assert data.notes == (
        "Labels are read from oidv6-train-annotations-human-imagelabels.csv.",
        "1 labelled images are not on the disk and are left out.",
        "2 images on the disk have no label and are left out.",
        "2 rows are not verified by people and are left out.",
        "1 pairs of image and class are stated as present and as absent: they are unknown.",
    )


def test_names_that_repeat_stay_apart_and_are_said_alike(six):
    names = load(six).class_names
    assert names == ("Dog", "Football (/m/01226z)", "Football (/m/05ctyq)", "Tie, bow", "Édith")
    said = [prompt_name(name) for name in names]
    assert said == list(CLASSES.values())
    assert prompt_name("a_b (/g/11b_6q)") == "a b"
    assert prompt_name("light (red)") == "light (red)"
    assert prompt_name("sign (/m/01) post") == "sign (/m/01) post"


@pytest.mark.parametrize(
    ("labels", "names", "split", "kind"),
    [
        ("validation-annotations-human-imagelabels", "class-descriptions", "validation", ""),
        ("oidv7-val-annotations-human-imagelabels", "oidv7-class-descriptions", "validation", ""),
        (
            "test-annotations-human-imagelabels-boxable",
            "class-descriptions-boxable",
            "test",
            "-boxable",
        ),
        (
            "annotations/train-annotations-human-imagelabels-boxable",
            "metadata/oidv6-class-descriptions-boxable",
            "train",
            "-boxable",
        ),
    ],
)
def test_names_of_other_versions(tmp_path, labels, names, split, kind):
    for path in (tmp_path / labels, tmp_path / names):
        path.parent.mkdir(exist_ok=True)
    (tmp_path / f"{labels}.csv").write_bytes(
        ("\ufeff" + HEADER + as_csv(ROWS)).replace("\n", "\r\n").encode()
    )
    (tmp_path / f"{names}.csv").write_text(names_csv(CLASSES), encoding="utf-8")
    write_images(tmp_path / split)
    data = load(tmp_path, split)
    assert labels_of(data) == LABELS
    assert data.name.startswith(f"openimages{kind}:")
    assert DATASETS["openimages"].splits(str(tmp_path)) == (split,)


@pytest.mark.parametrize("place", ["train/data", "images/train", "train_f"])
def test_places_of_the_images(six, place):
    (six / "elsewhere").mkdir()
    (six / "train").rename(six / "elsewhere" / "train")
    (six / place).parent.mkdir(exist_ok=True)
    (six / "elsewhere" / "train").rename(six / place)
    assert labels_of(load(six)) == LABELS


def test_boxable_labels_beside_all_labels(six):
    (six / "class-descriptions-boxable.csv").write_text("/m/0bt9lr,Dog\n")
    (six / "train-annotations-human-imagelabels-boxable.csv").write_text(HEADER + as_csv(ROWS[:2]))
    assert len(load(six).class_names) == 5
    (six / "classes-trainable.txt").write_text("/m/0_x\n")  # holds for all classes alone
    data = load(six, kind="openimages-boxable")
    assert labels_of(data) == {"000026e7ee790996": [1]}
    assert data.name == f"openimages-boxable:{six.name}"
    assert "1 rows are of classes outside the class list and are left out." in data.notes


def test_trainable_classes(six):
    (six / "oidv6-classes-trainable.txt").write_text("/g/11b_6q\n/m/0bt9lr\n")
    data = load(six)
    assert data.class_ids == ("/m/0bt9lr", "/g/11b_6q")
    assert labels_of(data) == {i: [row[0], row[3]] for i, row in LABELS.items()}
    (six / "oidv6-classes-trainable.txt").write_text("/m/0bt9lr\n/m/none\n")
    assert "must list MIDs of oidv6-class-descriptions.csv, but lists '/m/none'" in message(six)


def slow_reference(rows, images, classes):
    """Pair by pair."""
    said = {}
    for image, source, mid, confidence in rows:
        if source != "machine" and float(confidence) in (0, 1):
            said.setdefault((image, mid), set()).add(int(float(confidence)))
    labels = {
        i: [said[i, c].pop() if len(said.get((i, c), ())) == 1 else -1 for c in classes]
        for i in images
    }
    return {i: row for i, row in labels.items() if any((i, c) in said for c in classes)}


def test_many_blocks_give_what_pair_by_pair_gives(six, monkeypatch):
    """Blocks of few rows, in any order, so that pairs contradict each other across blocks."""
    rng = random.Random(5)
    images = [f"{i:016x}" for i in range(60)]
    rows = [
        (
            rng.choice(images[:3] + images[5:]),  # two without a label, amid others
            rng.choice(["verification", "crowdsource-verification", "machine"]),
            rng.choice(list(CLASSES)),
            rng.choice(["0", "1", "1.0", "0.3"]),
        )
        for _ in range(700)
    ]
    write_images(six / "train", images[:20])
    path = six / "oidv6-train-annotations-human-imagelabels.csv"
    path.write_text(HEADER + as_csv(rows))
    size = path.stat().st_size
    monkeypatch.setattr("ccr_diag.data.openimages.BLOCK", 400)
    monkeypatch.setattr("ccr_diag.data.openimages.MB", 1)
    monkeypatch.setattr("ccr_diag.data.openimages.ENTRIES", 30)
    told = []
    data = load_dataset(f"openimages:{six}", "train", "stated", lambda *word: told.append(word))
    done = [min(400 * n, size) for n in range(1, -(-size // 400) + 1)]
    assert told == [(f"MB of {path.name}", n, size) for n in done]
    assert labels_of(data) == slow_reference(rows, images[:20], CLASSES)
    gone = len({row[0] for row in rows} & set(images[20:]))
    assert f"{gone} labelled images are not on the disk and are left out." in data.notes


def test_labels_that_do_not_fit_are_refused_before_they_are_made(six, monkeypatch):
    monkeypatch.setattr("ccr_diag.data.openimages.free_memory", lambda: 39)
    text = message(six)
    assert "4 images × 5 classes, a byte each" in text
    assert "keep fewer images in its folder, list fewer classes in classes-trainable.txt" in text
    monkeypatch.setattr("ccr_diag.data.openimages.free_memory", lambda: 40)
    assert len(load(six)) == 2
    monkeypatch.setattr("ccr_diag.data.openimages.free_memory", lambda: None)
    assert len(load(six)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in /proc")
def test_free_memory_is_told():
    assert 2**20 < free_memory() < 2**50


def test_pyarrow_is_an_extra(six, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r'needs pyarrow.*pip install "ccr-diag\[parquet\]"'):
        load(six)


def test_what_is_not_listed_is_unknown(six):
    assert labels_of(load(six, unlisted="unknown")) == LABELS
    assert "leave it out" in message(six, unlisted="negative")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER.replace("Source,", ""), "lacks Source; it has ImageID, LabelName"),
        ("", "lacks ImageID"),
        (HEADER + as_csv(ROWS) + "0000ff00ff00ff00,veri", "is not ("),
        (HEADER + "0000ff00ff00ff00,verification,/m/0bt9lr,yes\n", "invalid value 'yes'"),
        (HEADER + "0000ff00ff00ff00,verification,/m/0bt9lr,2\n", "from 0 to 1, but has 2.0"),
        (HEADER + "0000ff00ff00ff00,verification,/m/0bt9lr,-1\n", "from 0 to 1, but has -1.0"),
        (HEADER + "0000ff00ff00ff00,verification,/m/0bt9lr,\n", "from 0 to 1, but has nan"),
        (HEADER + "0000ff00ff00ff00,verification,/m/é,1\n", "'utf-8' codec can't decode"),
        (HEADER + as_csv(ROWS) * 300 + "00,verification,/m/é,1\n", "invalid UTF8"),
        (HEADER + as_csv(ROWS[-2:]), "has none of the 4 images and 5 classes"),
        (HEADER, "has none of the 4 images and 5 classes"),
    ],
)
def test_bad_labels(six, content, said):
    path = six / "oidv6-train-annotations-human-imagelabels.csv"
    path.write_bytes(content.encode("latin-1"))
    text = message(six)
    assert text.startswith("DIR/oidv6-train-annotations-human-imagelabels.csv ")
    assert said in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("/m/0bt9lr,Dog\n/m/0bt9lr,Cat\n", "must name each MID once, but names /m/0bt9lr again"),
        ("/m/0bt9lr,Dog\n/m/01226z\n", "line 2 must be a MID and a name"),
        ("/m/0bt9lr,Dog\nFootball,/m/01226z\n", "line 2 must be a MID and a name"),
        ("/m/0bt9lr,Dog, big\n", "line 1 must be a MID and a name"),
        ("", "is empty"),
        ("LabelName,DisplayName\n", "must name a class below its header"),
    ],
)
def test_bad_class_descriptions(six, content, said):
    (six / "oidv6-class-descriptions.csv").write_text(content)
    text = message(six)
    assert said in text
    assert "DIR/oidv6-class-descriptions.csv" in text


def test_missing_places(six, tmp_path):
    assert message(tmp_path / "no").startswith("openimages needs a folder, but DIR is none; get")
    assert "needs its folder, as in openimages:/data" in message("")
    assert "needs labels like train-annotations-human-imagelabels.csv" in message(tmp_path)
    assert "has no labels of a split 'tarin'; did you mean 'train'?" in message(six, "tarin")
    (six / "oidv6-class-descriptions.csv").rename(six / "kept")
    assert "needs the names of its classes, class-descriptions.csv or" in message(six)
    (six / "kept").rename(six / "oidv6-class-descriptions.csv")
    (six / "train").rename(six / "pictures")
    assert "but DIR has none in train, train/data, images/train or train_0 … train_f" in message(
        six
    )
