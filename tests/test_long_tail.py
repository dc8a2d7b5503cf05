"""Long-tailed COCO and VOC: from published lists, and drawn by the published recipe."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from coco_files import COCO, IDS, coco_content, write_coco, write_json
from scipy.stats import pareto

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.data.groups import class_groups
from ccr_diag.data.long_tail import draw_long_tail, pareto_counts
from ccr_diag.data.voc import PROMPT_NAMES
from ccr_diag.errors import BadData

# Group membership as published.
COCO_HEAD = (
    "person", "car", "backpack", "handbag", "bottle", "cup", "fork", "knife", "spoon", "bowl",
    "chair", "couch", "potted plant", "dining table", "tv", "laptop", "cell phone", "oven", "sink",
    "refrigerator", "book", "vase",
)  # fmt: skip
COCO_TAIL = (
    "airplane", "train", "fire hydrant", "stop sign", "parking meter", "bird", "horse", "sheep",
    "cow", "elephant", "bear", "zebra", "giraffe", "frisbee", "skis", "snowboard", "kite",
    "skateboard", "surfboard", "hot dog", "donut", "toaster", "scissors", "hair drier",
    "toothbrush",
)  # fmt: skip
VOC_HEAD = ("bottle", "car", "chair", "diningtable", "person", "pottedplant")
VOC_TAIL = ("aeroplane", "bird", "boat", "bus", "cow", "horse", "sheep", "train")


def membership(names, head, tail):
    return tuple("head" if n in head else "tail" if n in tail else "medium" for n in names)


def shown(names, groups, n, most, fewest):
    """Class names of each of n images: every group at both of its thresholds, and between."""
    span = {"head": (100, most), "medium": (20, 99), "tail": (fewest, 19)}
    images = [[] for _ in range(n)]
    for g in dict.fromkeys(groups):
        classes = [name for name, group in zip(names, groups, strict=True) if group == g]
        counts = np.geomspace(*span[g], len(classes)).round().astype(int)
        for c, (name, count) in enumerate(zip(classes, counts, strict=True)):
            for i in range(count):
                images[(31 * c + i) % n].append(name)
    return images


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """COCO 2017 of 1,950 images, and the ids of 1,909 that are long-tailed."""
    root = tmp_path_factory.mktemp("coco")
    groups = membership(COCO, COCO_HEAD, COCO_TAIL)
    listed = shown(COCO, groups, 1909, 1128, 6)
    numbers = np.random.default_rng(0).permutation(580_000)[:1950].tolist()
    images = dict(zip((f"{i:012d}.jpg" for i in numbers), listed, strict=False))
    images |= {f"{i:012d}.jpg": list(COCO) for i in numbers[1909:]}  # of no tail at all
    write_coco(root, "val2017", {"000000000139.jpg": ["dog"], "000000000285.jpg": []})
    content = coco_content(images)
    content["images"].sort(key=lambda image: image["id"])
    write_json(root / "annotations" / "instances_train2017.json", content)
    link_images(root / "train2017", images, root / "val2017" / "000000000139.jpg")
    return root, numbers[:1909], groups


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """VOC2012 of 1,150 images, the ids of 1,142 that are long-tailed."""
    root = tmp_path_factory.mktemp("voc")
    groups = membership(PROMPT_NAMES, VOC_HEAD, VOC_TAIL)
    listed = shown(list(PROMPT_NAMES), groups, 1142, 775, 4) + [[*PROMPT_NAMES]] * 8
    objects = [[(name, "0") for name in names] for names in listed]
    first = next(i for i, names in enumerate(listed) if "bottle" in names)
    objects[first].remove(("bottle", "0"))
    objects[first].append(("bottle", "1"))  # the 100th image of its class
    ids = [f"20{8 + i % 4:02d}_{i:06d}" for i in range(1150)]
    picture = root / "picture.jpg"
    write_coco(root, "x", {"picture.jpg": []}, folder=".")
    write_voc(
        root / "VOCdevkit" / "VOC2012", "trainval", dict(zip(ids, objects, strict=True)), picture
    )
    return root, ids[:1142], groups


def small_coco(root):
    """COCO 2017 of 40 images, of which half show nothing."""
    write_coco(root, "val2017", {"000000000139.jpg": ["dog"], "000000000285.jpg": []})
    images = {f"{i:012d}.jpg": [COCO[i], "person"] * (i % 2) for i in range(40)}
    write_coco(root, "train2017", images)


def small_voc(root):
    """VOC2012 of 20 images, of which half show nothing, and VOC2007 of two; the ids of the 20."""
    write_coco(root, "x", {"picture.jpg": []}, folder=".")
    ids = [f"2008_{i:06d}" for i in range(20)]
    names = list(PROMPT_NAMES)
    train = {name: [(names[i], str(i % 3 % 2))] * (i % 2) for i, name in enumerate(ids)}
    test = {"000001": [("dog", "0")], "000002": [("cat", "1"), ("tvmonitor", "0")]}
    for year, split, images in (("2012", "trainval", train), ("2007", "test", test)):
        write_voc(root / "VOCdevkit" / f"VOC{year}", split, images, root / "picture.jpg")
    return ids


def write_voc(folder, split, images, picture):
    """XML files of (class, difficult), the list of a split, and images."""
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images) + "\n")
    for name, objects in images.items():
        inner = "".join(
            f"<object><name>{c}</name><difficult>{d}</difficult></object>" for c, d in objects
        )
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename>{inner}</annotation>"
        )
    link_images(folder / "JPEGImages", [f"{name}.jpg" for name in images], picture)


def link_images(folder, names, picture):
    """One picture under many names."""
    folder.mkdir()
    for name in names:
        (folder / name).hardlink_to(picture)


def sizes(data):
    groups = class_groups(data.labels, data.new)
    return tuple(groups.count(g) for g in ("head", "medium", "tail"))


def test_published_coco(coco):
    root, numbers, groups = coco
    path = root / "longtail2017" / "img_id.pkl"
    path.parent.mkdir()
    path.write_text("".join(f"{i}\n" for i in numbers))
    data = load_dataset(f"coco-lt:{root}", "train")
    assert data.image_ids == tuple(f"{i:012d}" for i in numbers)  # in the order of the list
    assert class_groups(data.labels, data.new) == groups
    assert sizes(data) == (22, 33, 25)
    assert (data.name, data.split) == (f"coco-lt:{root.name}", "train")
    assert data.class_ids == tuple(map(str, IDS.values()))
    without, listed = data.notes
    assert without.startswith(f"Of coco:{root.name}, split train2017: Images without")
    assert listed == "1,909 training images are those that img_id.pkl lists."


def test_published_voc(voc, tmp_path):
    root, ids, groups = voc
    path = tmp_path / "img_id.txt"
    path.write_text("\n".join(ids[::-1]))
    data = load_dataset(f"voc-lt:{root},{path}", "train")
    assert data.image_ids == tuple(ids[::-1])
    assert class_groups(data.labels, data.new) == groups
    assert sizes(data) == (6, 6, 8)
    assert data.class_names[10] == "dining table"
    difficult, listed = data.notes
    assert difficult.endswith("published: 1.")
    assert listed == "1,142 training images are those that img_id.txt lists."


@pytest.mark.parametrize(
    ("place", "form"),
    [
        ("longtail2017/img_id.pkl", "{}"),
        ("longtail2017/img_id.txt", "{:012d}"),
        ("appendix/coco/longtail2017/img_id.pkl", "{:012d}.jpg"),
    ],
)
def test_places_and_forms_of_lists_of_coco(tmp_path, place, form):
    small_coco(tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(form.format(i) for i in (30, 7, 12, 30)))
    data = load_dataset(f"coco-lt:{tmp_path}", "train")
    assert data.image_ids == ("000000000030", "000000000007", "000000000012")
    assert data.open_image(1).getpixel((0, 0))[0] == 7
    assert data.notes[-1] == "Images that it lists again: 1."


@pytest.mark.parametrize("place", ["", "VOCdevkit", "appendix/VOCdevkit"])
def test_places_of_lists_of_voc(tmp_path, place):
    ids = small_voc(tmp_path)
    path = tmp_path / place / "longtail2012" / "img_id.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(ids[:3]))
    assert load_dataset(f"voc-lt:{tmp_path}", "train").image_ids == tuple(ids[:3])


def test_other_annotations_than_the_published_ones(coco, tmp_path):
    root, numbers, _ = coco
    path = tmp_path / "ids.txt"
    full = {int(i) for i in load_dataset(f"coco:{root}", "train2017").image_ids} - set(numbers)
    path.write_text("\n".join(map(str, [*numbers[:-1], min(full)])))  # of all 80 classes
    data = load_dataset(f"coco-lt:{root},{path}", "train")
    assert sizes(data) != (22, 33, 25)
    assert "22, 33 and 25" in data.notes[-1]
    assert "{}, {} and {}".format(*sizes(data)) in data.notes[-1]
    path.write_text("\n".join(map(str, numbers[:-1])))  # a list of one's own is what it is
    assert "published" not in load_dataset(f"coco-lt:{root},{path}", "train").notes[-1]


def test_test_images(tmp_path):
    small_coco(tmp_path)
    small_voc(tmp_path)
    data = load_dataset(f"coco-lt:{tmp_path}", "test")
    assert data.image_ids == ("000000000139", "000000000285")
    assert (data.split, data.labels.sum()) == ("test", 1)
    data = load_dataset(f"voc-lt:{tmp_path}", "test")
    assert data.image_ids == ("000001", "000002")
    assert data.labels.sum() == 3
    assert data.labels.min() == 0
    assert data.name == "voc-lt:VOC2007"
    assert "difficult" in data.notes[0]
    for kind in ("coco-lt", "voc-lt"):
        assert DATASETS[kind].splits("anywhere") == ("train", "test")


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_our_own_draw(kind, tmp_path):
    {"coco": small_coco, "voc": small_voc}[kind](tmp_path)
    data = load_dataset(f"{kind}-lt:{tmp_path}", "train")
    whole = load_dataset(
        *{"coco": (f"coco:{tmp_path}", "train2017"), "voc": (f"voc2012:{tmp_path}", "trainval")}[
            kind
        ]
    )
    most = {"coco": 1200, "voc": 800}[kind]
    rows = draw_long_tail(np.abs(whole.labels), most, 0)  # a difficult object is one
    assert data.image_ids == whole.subset(rows).image_ids
    assert 0 < len(data) < len(whole)
    assert f"{len(data):,} training images are our own draw" in data.notes[-1]
    assert "seed 0" in data.notes[-1]
    assert {"coco": "1,909", "voc": "1,142"}[kind] in data.notes[-1]


@pytest.mark.parametrize(("n", "most", "least"), [(80, 1200, 6), (20, 800, 4)])
def test_the_curve_is_that_of_pareto(n, most, least):
    x = np.linspace(pareto.ppf(0, 6), pareto.ppf(0.99, 6), n)
    expected = (pareto.pdf(x, 6) * (most - 1) / 6 + 1).astype(int)
    found = pareto_counts(n, most)
    assert np.array_equal(found, expected)
    assert (found[0], found[-1]) == (most, least)


def slow_draw(labels, most, seed):
    """The recipe in sets, one class after the other."""
    n, n_classes = labels.shape
    images = [{i for i in range(n) if labels[i, c] == 1} for c in range(n_classes)]
    score = [
        sum(len(images[c] & images[j]) / len(images[j]) for j in range(n_classes) if images[j])
        for c in range(n_classes)
    ]
    rng = np.random.default_rng(seed)
    chosen = set()
    for c, wanted in zip(
        sorted(range(n_classes), key=lambda c: -score[c]), pareto_counts(n_classes, most),
        strict=True,
    ):  # fmt: skip
        have = images[c] & chosen
        if len(have) < wanted:
            pool = sorted(images[c] - chosen)
            chosen |= set(rng.choice(pool, min(wanted - len(have), len(pool)), replace=False))
        elif len(have) > wanted:
            chosen -= set(rng.choice(sorted(have), len(have) - wanted, replace=False))
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(5))
def test_draw_against_the_slow_one(seed):
    rng = np.random.default_rng(seed)
    share = rng.permutation(np.geomspace(0.02, 0.6, 12))
    labels = (rng.random((400, 12)) < share).astype(np.int8)
    labels[:, 5] |= labels[:, 7]  # classes that come together
    labels[:, 3] = -(seed == 1)  # and one that never comes, or is unknown
    found = draw_long_tail(labels, 90, seed)
    assert found.tolist() == slow_draw(labels, 90, seed)
    assert found.tolist() != draw_long_tail(labels, 90, seed + 1).tolist()


def test_classes_that_never_come_together_follow_the_curve():
    labels = np.repeat(np.eye(10, dtype=np.int8), 50, axis=0)
    counts = labels[draw_long_tail(labels, 60, 0)].sum(axis=0)
    assert counts.tolist() == np.minimum(pareto_counts(10, 60), 50).tolist()


def test_refused(tmp_path):
    root = tmp_path / "coco"
    small_coco(root)
    path = tmp_path / "ids.txt"

    def why(content, argument=f"{root},{path}", split="train"):
        path.write_bytes(content)
        with pytest.raises(BadData) as caught:
            load_dataset(f"coco-lt:{argument}", split)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    text = why(b"7\n581999\n581998\n")
    assert all(part in text for part in (str(path), "2 of its 3", "'581999'", root.name))
    assert "pickle" in why(pickle.dumps(["1", "2"]))
    assert "is empty" in why(b"\n")
    assert str(Path("nowhere")) in why(b"", f"{root},nowhere")
    assert "cocodataset.org" in why(b"", "nowhere")
    assert "'val'" in why(b"1", split="val")
    with pytest.raises(BadData, match="--unlisted unknown"):
        load_dataset(f"coco-lt:{root}", "train", "unknown")
