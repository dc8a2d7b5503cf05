"""Every dialect of a manifest: the same images and labels, and what each refuses."""

import csv
import json
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.data.conversion import write_manifest
from ccr_diag.data.manifest import read_manifest
from ccr_diag.data.manifests.parquet import KEY
from ccr_diag.errors import BadData, MissingExtra

NAMES = ("cat", "hot dog", "Möwe")
LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
IMAGES = tuple(f"data/{i}.png" for i in range(4))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with data/0.png … 3.png."""
    folder = tmp_path_factory.mktemp("dialects")
    (folder / "data").mkdir()
    for i, image in enumerate(IMAGES):
        Image.new("RGB", (3, 3), (i, 0, 0)).save(folder / image)
    return folder


def load(path, unlisted="negative", split="all"):
    return load_dataset(f"manifest:{path}", split, unlisted)


def refusal(path, unlisted="negative", split="all"):
    """What a bad file says, with its name alone for its path."""
    with pytest.raises(BadData) as error:
        load(path, unlisted, split)
    return str(error.value).replace(str(path), path.name)


def put(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def listed(row):
    return [name for name, label in zip(NAMES, row, strict=True) if label == 1]


def numbers(row):
    return np.flatnonzero(row == 1).tolist()


def rows_of(header, rows):
    return "".join(",".join(map(str, row)) + "\n" for row in [header, *rows])


def write_parquet(path, metadata=None, /, **columns):
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({KEY: json.dumps(metadata)})
    parquet.write_table(table, path)
    return path


def stated(names=NAMES, unlisted="negative"):
    return {"class_names": names, "class_ids": None, "new": [], "unlisted": unlisted}


def ids_as(kind):
    return pa.array([numbers(row) for row in LABELS], kind)


def names_as(kind):
    return pa.array([listed(row) for row in LABELS], kind)


PAIRS = list(zip(IMAGES, LABELS, strict=True))
ENCODED = pa.list_(pa.dictionary(pa.int8(), pa.string()))
WRITERS = {
    "list.csv": lambda p: put(
        p.parent, p.name, rows_of(["image", "labels"], [(i, ";".join(listed(r))) for i, r in PAIRS])
    ),
    "one-hot.csv": lambda p: put(
        p.parent, p.name, rows_of(["image", *NAMES], [(i, *r) for i, r in PAIRS])
    ),
    "floats.csv": lambda p: put(
        p.parent, p.name, rows_of(["path", *NAMES], [(i, *(r * 1.0)) for i, r in PAIRS])
    ),
    "minus.csv": lambda p: put(
        p.parent, p.name, rows_of(["image", *NAMES], [(i, *(2 * r - 1)) for i, r in PAIRS])
    ),
    "blank.csv": lambda p: put(
        p.parent, p.name, rows_of(["image", *NAMES], [(i, *(v or "" for v in r)) for i, r in PAIRS])
    ),
    "pairs.csv": lambda p: put(
        p.parent,
        p.name,
        rows_of(["label", "image"], [(n, i) for i, r in PAIRS for n in listed(r) or [""]]),
    ),
    "pairs.tsv": lambda p: put(
        p.parent,
        p.name,
        rows_of(
            ["image", "label", "value"],
            [(i, n, v) for i, r in PAIRS for n, v in zip(NAMES, r, strict=True)],
        ).replace(",", "\t"),
    ),
    "records.jsonl": lambda p: put(
        p.parent,
        p.name,
        "\n".join(json.dumps({"image": i, "labels": listed(r)}) for i, r in PAIRS) + "\n\n",
    ),
    "records.json": lambda p: put(
        p.parent, p.name, [{"file_name": i, "labels": listed(r)} for i, r in PAIRS]
    ),
    "ram.json": lambda p: put(
        p.parent, p.name, {"images": [[i, listed(r)] for i, r in PAIRS], "classes": NAMES}
    ),
    "ram_numbers.json": lambda p: put(
        p.parent, p.name, {"images": [[i, numbers(r)] for i, r in PAIRS], "classes": NAMES}
    ),
    "mmpretrain.json": lambda p: put(
        p.parent,
        p.name,
        {
            "metainfo": {"classes": NAMES},
            "data_list": [{"img_path": i, "gt_label": numbers(r)} for i, r in PAIRS],
        },
    ),
    "mmpretrain_ids.json": lambda p: put(
        p.parent,
        p.name,
        {
            "metainfo": {
                "categories": [{"id": 10 - c, "name": name} for c, name in enumerate(NAMES)]
            },
            "data_list": [
                {"img_path": i, "gt_label": [10 - c for c in numbers(r)]} for i, r in PAIRS
            ],
        },
    ),
    "labels.json": lambda p: put(
        p.parent,
        p.name,
        {"classes": NAMES, "labels": {str(i): numbers(r) for i, r in enumerate(LABELS)}},
    ),
    "fiftyone_names.json": lambda p: put(
        p.parent,
        p.name,
        {
            "classes": None,
            "labels": {
                str(i): [{"label": n, "confidence": None} for n in listed(r)]
                for i, r in enumerate(LABELS)
            },
        },
    ),
    "label_studio.json": lambda p: put(p.parent, p.name, [task(i, [listed(r)]) for i, r in PAIRS]),
    "lmpt.txt": lambda p: (
        put(p.parent, "classes.txt", "\n".join(NAMES)),
        put(
            p.parent, p.name, "".join(" ".join(map(str, [i, *numbers(r)])) + "\n" for i, r in PAIRS)
        ),
    ),
    "names.parquet": lambda p: write_parquet(p, image=IMAGES, labels=names_as(None)),
    "large.parquet": lambda p: write_parquet(
        p, path=IMAGES, labels=names_as(pa.large_list(pa.large_string()))
    ),
    "encoded.parquet": lambda p: write_parquet(p, image=IMAGES, labels=names_as(ENCODED)),
    "numbers.parquet": lambda p: write_parquet(
        p, stated(), image=IMAGES, labels=ids_as(pa.list_(pa.int32()))
    ),
    "cells.parquet": lambda p: write_parquet(
        p,
        stated(),
        image=IMAGES,
        labels=pa.array(LABELS.tolist(), pa.list_(pa.int8(), 3)),
    ),
}


def task(image, choices, cancelled=()):
    """A task of Label Studio with the choices of each annotator."""
    return {
        "id": 1,
        "data": {"image": image},
        "annotations": [
            {
                "was_cancelled": k in cancelled,
                "result": [
                    {
                        "type": "choices",
                        "from_name": "what",
                        "to_name": "image",
                        "value": {"choices": chosen},
                    }
                ]
                * bool(chosen),
            }
            for k, chosen in enumerate(choices)
        ],
    }


@pytest.mark.parametrize("name", WRITERS)
def test_every_dialect_gives_the_same_data_set(shared, name):
    WRITERS[name](shared / name)
    data = load(shared / name, "unknown" if name == "pairs.tsv" else "negative")
    order = [data.class_names.index(name) for name in NAMES]
    assert data.labels[:, order].tolist() == LABELS.tolist()
    assert data.image_ids == IMAGES
    assert [data.open_image(i).getpixel((0, 0))[0] for i in range(4)] == [0, 1, 2, 3]


DECLARED = {"cells.parquet", "numbers.parquet", "one-hot.csv", "floats.csv", "pairs.tsv"}


@pytest.mark.parametrize("name", sorted(set(WRITERS) - DECLARED))
def test_what_a_file_does_not_say_must_be_declared(shared, name):
    WRITERS[name](shared / name)
    assert "does not say what a class means that an image does not list" in refusal(
        shared / name, "stated"
    )
    data = load(shared / name, "unknown")
    order = [data.class_names.index(name) for name in NAMES]
    assert data.labels[:, order].tolist() == np.where(LABELS == 1, 1, -1).tolist()


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_what_a_file_says_needs_no_declaration(shared, name):
    WRITERS[name](shared / name)
    data = load(shared / name, "stated")
    order = [data.class_names.index(name) for name in NAMES]
    assert data.labels[:, order].tolist() == LABELS.tolist()


class TestTables:
    def write(self, shared, text):
        return put(shared, "t.csv", text)

    def test_minus_one_beside_zero_is_never_absent(self, shared):
        path = self.write(shared, "image,a,b,c\ndata/0.png,1,0,-1\ndata/1.png,,1,0\n")
        assert load(path, "unknown").labels.tolist() == [[1, 0, -1], [-1, 1, 0]]
        assert refusal(path) == (
            "t.csv has cells of 0 and of -1, which cannot both be absent, but got --unlisted "
            "negative; give --unlisted unknown, or list labels and negatives by name."
        )
        assert refusal(path, "stated").startswith(
            "t.csv (where -1 and an empty cell stand for it) does not say what a class means"
        )

    def test_one_hot_keeps_split_and_caption(self, shared):
        path = self.write(
            shared, "split,image,b,caption,a\ntrain,data/0.png,1,x,0\ntest,data/1.png,0,,1\n"
        )
        data = load(path, "stated", "test")
        assert (data.class_names, data.labels.tolist()) == (("b", "a"), [[0, 1]])
        assert data.captions == ("",)
        assert DATASETS["manifest"].splits(str(path)) == ("train", "test")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "image,cat,x\ndata/0.png,1,0\ndata/1.png,2,0\n",
                "t.csv needs columns image and labels, or a column of 1, 0, -1 or nothing for each "
                "class, but line 3 holds '2' in 'cat'; take out columns that are no class.",
            ),
            (
                "image_name,tags\ntrain_0,haze primary\n",
                "t.csv needs columns image and labels, separated by commas, but 'image' is not in "
                "its header: image_name, tags; call 'image_name' 'image'.",
            ),
            (
                "image\ndata/0.png\n",
                "t.csv needs columns image and labels, separated by commas, but 'labels' is not in "
                "its header: image.",
            ),
            (
                "image,label\ndata/0.png,a|b\n",
                "t.csv line 2 must hold one name in column 'label', but holds 'a|b'; call the "
                "column 'labels' and put one image in a row.",
            ),
            (
                "image,label,value\ndata/0.png,a,0.5\n",
                "t.csv line 2 must hold 1, 0, -1 or nothing in column 'value', but holds '0.5'.",
            ),
            (
                "image,label,split\ndata/0.png,a,train\ndata/0.png,b,test\n",
                "t.csv must put an image in one split, but 'data/0.png' is in 'train' on line 2 "
                "and in 'test' on line 3.",
            ),
            (
                "image,label,value\ndata/1.png,a,1\ndata/0.png,a,1\ndata/0.png,a,0\n",
                "t.csv line 3 must list a class in labels or in negatives, but 'a' is in both; "
                "drop one.",
            ),
            (
                "image,a,A\ndata/0.png,1,0\n",
                "t.csv must write each class one way, but 'a' and 'A' differ only in case, spaces "
                "or Unicode form; rename one.",
            ),
        ],
    )
    def test_refusals(self, shared, text, expected):
        assert refusal(self.write(shared, text), "unknown") == expected

    def test_pairs_with_values_leave_the_rest_unknown(self, shared):
        path = self.write(
            shared,
            "image,label,value\ndata/0.png,a,1\ndata/0.png,b,0\ndata/1.png,b,1\ndata/1.png,c,-1\n",
        )
        assert load(path, "stated").labels.tolist() == [[1, 0, -1], [-1, 1, -1]]

    def test_minus_one_alone_in_pairs_must_be_declared(self, shared):
        path = self.write(shared, "image,label,value\ndata/0.png,a,1\ndata/0.png,b,-1\n")
        assert load(path).labels.tolist() == [[1, 0]]
        assert load(path, "unknown").labels.tolist() == [[1, -1]]
        assert refusal(path, "stated").startswith("t.csv (where -1 stands for it) does not say")

    def test_a_long_field(self, shared):
        path = self.write(shared, f"image,labels,caption\ndata/0.png,a,{'x' * 200_000}\n")
        assert len(load(path).captions[0]) == 200_000


class TestJson:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("[", "t.json must be whole JSON, but is not (Expecting value, line 1 column 2)."),
            ([], "t.json needs at least one record, but has none."),
            (
                3,
                "t.json must hold records with image and labels, RAM's images and classes, "
                "mmpretrain's metainfo and data_list, FiftyOne's classes and labels, or tasks of "
                "Label Studio, but has no list.",
            ),
            (
                {"images": [], "annotations": [], "categories": []},
                "t.json holds COCO's images and annotations, which is no manifest; ask for "
                "coco:DIR, its folder.",
            ),
            (
                [{"image": "data/0.png", "labels": ["a"]}, {"image": "data/1.png"}],
                "t.json record 2 needs image and labels, but 'labels' is not in it: image.",
            ),
            (
                [{"img_path": "data/0.png", "labels": ["a"]}],
                "t.json record 1 needs image and labels, but 'image' is not in it: img_path, "
                "labels; call 'img_path' 'image'.",
            ),
            (
                [{"image": "data/0.png", "labels": "cat;dog"}],
                "t.json record 1 must hold a list in 'labels', but holds \"cat;dog\"; list names, "
                'as in ["cat", "dog"].',
            ),
            (
                [{"image": "data/0.png", "labels": ["cat", ""]}],
                "t.json record 1 has an empty name or something other than a name in "
                '\'labels\': ["cat", ""]; list names, as in ["cat", "dog"].',
            ),
            (
                [{"image": None, "labels": []}],
                "t.json record 1 must hold text in 'image', but holds null.",
            ),
            (["x"], 't.json record 1 must be an object with image and labels, but is "x".'),
            (
                [
                    {"image": "data/0.png", "labels": ["a"], "split": "train"},
                    {"image": "data/1.png", "labels": []},
                ],
                "t.json must give a split in every record or in none, but gives it in 1 of 2.",
            ),
            (
                [{"image": "data/0.png", "labels": ["a"], "Negative": ["b"]}],
                "t.json has 'Negative', which is too like 'negatives' to be ignored; call "
                "it 'negatives' if it is that, or something else if it is not.",
            ),
            (
                {"images": [["data/0.png", ["x"]]], "classes": ["a", "b"]},
                't.json record 1 must name one of the 2 classes, or its number, but has "x".',
            ),
            (
                {"images": [["data/0.png", [True]]], "classes": ["a", "b"]},
                "t.json record 1 must name one of the 2 classes, or its number, but has true.",
            ),
            (
                {"images": ["data/0.png"], "classes": ["a"]},
                't.json record 1 must be a pair [path, [label, …]], but is "data/0.png".',
            ),
            (
                {"metainfo": {"classes": ["a"]}, "data_list": [{"img_path": "data/0.png"}]},
                't.json record 1 needs img_path and gt_label, but is {"img_path": "data/0.png"}.',
            ),
            (
                {"metainfo": {"classes": ["a"]}, "data_list": [{"img_path": "x", "gt_label": [1]}]},
                "t.json record 1 must name one of the 1 classes, or its number, but has 1.",
            ),
            (
                {"classes": ["a"], "labels": {"7": [0]}},
                "t.json record 1 must name an image in DIR/data without its suffix, but there is "
                "none called '7'.",
            ),
            (
                [{"data": {"image": "data/0.png"}, "choice": "a"}],
                "t.json record 1 must be a task of Label Studio with data.image and annotations, "
                'but is {"data": {"image": "data/0.png"}, "choice": "a"}; export as JSON, not '
                "JSON_MIN.",
            ),
        ],
    )
    def test_refusals(self, shared, content, expected):
        path = put(shared, "t.json", content)
        assert refusal(path).replace(str(shared), "DIR") == expected

    def test_too_deep_json(self, shared):
        assert refusal(put(shared, "t.json", "[" * 200_000)).startswith("t.json must be whole JSON")

    def test_lines_are_named_by_their_number(self, shared):
        good = json.dumps({"image": "data/0.png", "labels": ["a"]})
        assert refusal(put(shared, "t.jsonl", f"{good}\n\n{good[:-3]}\n")).startswith(
            "t.jsonl line 3 must be one JSON object, but is not ("
        )
        assert refusal(put(shared, "t.jsonl", f"{good}\n\n{good}\n")) == (
            "t.jsonl must list each image once, but 'data/0.png' is on lines 1 and 3; join them "
            "into one row."
        )

    def test_records_with_negatives_split_and_caption(self, shared):
        lines = [
            {"image": "data/0.png", "labels": ["a"], "split": "train", "caption": "x"},
            {"image": "data/1.png", "labels": [], "negatives": ["b"], "split": "test"},
        ]
        path = put(shared, "t.jsonl", "\n".join(map(json.dumps, lines)))
        data = load(path, "stated")
        assert data.labels.tolist() == [[1, -1], [-1, 0]]
        assert data.captions == ("x", "")
        assert load(path, "stated", "test").image_ids == ("data/1.png",)

    def test_annotators_who_disagree(self, shared):
        tasks = [
            task("data/0.png", [["a", "b"], ["b"]]),
            task("data/1.png", [["a"], ["b"]], cancelled=[1]),
            task("data/2.png", [["a"]], cancelled=[0]),
            task("data/3.png", [[], ["c"]]),
        ]
        data = load(put(shared, "t.json", tasks))
        assert data.image_ids == ("data/0.png", "data/1.png", "data/3.png")
        assert data.class_names == ("a", "b", "c")
        assert data.labels.tolist() == [[-1, 1, 0], [1, 0, 0], [0, 0, -1]]
        assert data.notes == (
            "1 tasks have no annotation that counts and are left out.",
            "In 2 images annotators chose differently: what only some chose is unknown.",
        )

    def test_where_label_studio_keeps_images(self, shared):
        local = task("/data/local-files/?d=data/0.png", [["a"]])
        (shared / "images").mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(shared / "images" / "ab12-x.png")
        uploaded = task("/data/upload/7/ab12-x.png", [["a"]])
        data = load(put(shared, "t.json", [local, uploaded]))
        assert data.image_ids == ("data/0.png", "images/ab12-x.png")

    def test_two_questions_are_refused(self, shared):
        other = task("data/1.png", [["a"]])
        other["annotations"][0]["result"][0]["from_name"] = "mood"
        path = put(shared, "t.json", [task("data/0.png", [["a"]]), other])
        assert refusal(path) == (
            "t.json must ask for choices once, but asks for mood, what; export one of them."
        )

    def test_unlabelled_images_of_fiftyone_are_noted(self, shared):
        path = put(shared, "t.json", {"classes": ["a"], "labels": {"0": ["a"], "1": None, "2": []}})
        data = load(path)
        assert data.labels.tolist() == [[1], [0]]
        assert data.notes == ("1 images have no labels (null) and are left out.",)

    def test_one_name_for_two_files_of_fiftyone(self, tmp_path):
        (tmp_path / "data").mkdir()
        for name in ("0.png", "0.jpg"):
            Image.new("RGB", (2, 2)).save(tmp_path / "data" / name)
        path = put(tmp_path, "t.json", {"classes": ["a"], "labels": {"0": ["a"]}})
        assert "holds 0.jpg and 0.png; rename one." in refusal(path)


class TestIndexList:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (
                "data/0.png 3",
                "t.txt line 2 must give numbers from 0 to 2, as classes.txt has 3 classes, but "
                "gives 3.",
            ),
            (
                "data/0.png 0 1 0",
                "t.txt line 2 must give each class number once, but repeats one: data/0.png 0 1 0; "
                "if these are 0 and 1 for each class, write a .csv file with a column a class.",
            ),
        ],
    )
    def test_refusals(self, shared, line, expected):
        put(shared, "classes.txt", "a\nb\nc\n")
        assert refusal(put(shared, "t.txt", f"data/1.png 0\n{line}\n")) == expected

    def test_paths_with_spaces_and_numbers(self, tmp_path):
        put(tmp_path, "classes.txt", "a\nb\n")
        for name in ("x 1.png", "y.png"):
            Image.new("RGB", (2, 2)).save(tmp_path / name)
        data = load(put(tmp_path, "t.txt", "x 1.png 1\ny.png\n"))
        assert data.image_ids == ("x 1.png", "y.png")
        assert data.labels.tolist() == [[0, 1], [0, 0]]


class TestParquet:
    def test_metadata_say_everything(self, shared):
        said = {
            "class_names": ["z", "a", "m"],
            "class_ids": ["18", "1", "2"],
            "new": ["m"],
            "unlisted": "unknown",
        }
        path = write_parquet(
            shared / "t.parquet",
            said,
            image=IMAGES[:2],
            labels=[["z"], []],
            negatives=[["a"], ["m"]],
            split=["train", "test"],
            caption=["x", None],
        )
        data = load(path, "stated")
        assert (data.class_names, data.class_ids) == (("z", "a", "m"), ("18", "1", "2"))
        assert data.new_names == ("m",)
        assert data.labels.tolist() == [[1, 0, -1], [-1, -1, 0]]
        assert data.captions == ("x", "")
        assert load(path, "stated", "test").labels.tolist() == [[-1, -1, 0]]
        assert "says itself" in refusal(path, "negative")

    @pytest.mark.parametrize(
        ("metadata", "columns", "expected"),
        [
            (
                None,
                {"labels": [[0], [1]]},
                "t.parquet row 1 must number a class in column 'labels', but has 0, and there are "
                "no class_names in the metadata ccr-diag; write names as text.",
            ),
            (
                stated(["a"]),
                {"labels": [[0], [1]]},
                "t.parquet row 2 must number a class in column 'labels', but has 1, and the "
                "metadata ccr-diag name 1 classes.",
            ),
            (
                None,
                {"labels": [["a", "b"], ["a", " "]]},
                "t.parquet row 2 must hold class names in column 'labels', but has \" \"; fill it "
                "in.",
            ),
            (
                None,
                {"labels": [["a"], [None]]},
                "t.parquet row 2 must hold class names in column 'labels', but has null; fill it "
                "in.",
            ),
            (
                None,
                {"labels": [["a"], None]},
                "t.parquet row 2 must hold a list in column 'labels', but holds nothing; write an "
                "empty list where there is no class, or take the row out.",
            ),
            (
                None,
                {"labels": ["a", "b"]},
                "t.parquet must hold a list of names or of class numbers in column 'labels', but "
                "it is of type string; write names as a list of text.",
            ),
            (
                None,
                {"tags": [["a"], ["b"]]},
                "t.parquet needs image and labels, but 'labels' is not in it: image, tags; "
                "call 'tags' 'labels'.",
            ),
            (
                None,
                {"labels": pa.array([[1, 0], [0, 1]], pa.list_(pa.int8(), 2))},
                "t.parquet holds a number a class in column 'labels', so its metadata ccr-diag "
                "must hold class_names, but do not; write lists of names instead.",
            ),
            (
                stated(["a", "b"]),
                {"labels": pa.array([[1, 0], [0, 3]], pa.list_(pa.int8(), 2))},
                "t.parquet row 2 must hold 1, 0 or -1 for each class, but holds 3.",
            ),
            (
                stated(["a", "b"]),
                {"labels": pa.array([[1, 0], [0]], pa.list_(pa.int8()))},
                "t.parquet row 2 must hold one number for each of the 2 classes, but holds 1.",
            ),
            (
                {"class_names": ["a"]},
                {"labels": [["a"], []]},
                "t.parquet must hold class_names, class_ids, new and unlisted in its metadata "
                'ccr-diag, but holds {"class_names": ["a"]}; write it again.',
            ),
            (
                stated(["a"]),
                {"labels": [["a"], ["c"]]},
                "t.parquet row 2 must name classes that the file declares, but names 'c'; known "
                "are a.",
            ),
        ],
    )
    def test_refusals(self, shared, metadata, columns, expected):
        path = write_parquet(shared / "t.parquet", metadata, image=IMAGES[:2], **columns)
        assert refusal(path) == expected

    def test_other_files(self, shared):
        path = put(shared, "t.parquet", "PAR1 and no more")
        assert refusal(path).startswith("t.parquet must be a whole Parquet file, but is damaged (")
        assert refusal(shared / "none.parquet").endswith("none.parquet is not there.")

    def test_images_of_hugging_face(self, shared):
        stored = pa.array([{"bytes": b"", "path": "x"}])
        path = write_parquet(shared / "t.parquet", image=stored, labels=[["a"]])
        assert refusal(path).endswith("; a data set of Hugging Face is read as hf:DIR.")

    def test_without_pyarrow(self, shared, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtra, match=r"pip install \"ccr-diag\[parquet\]\""):
            load(put(shared, "x.parquet", ""))

    def test_sliced_and_many_batches(self, shared, monkeypatch):
        monkeypatch.setattr("ccr_diag.data.manifests.parquet.BATCH", 3)
        rows = [[f"c{i % 5}", "x"][: i % 3] for i in range(10)]
        images = [f"{i}.png" for i in range(10)]
        path = write_parquet(shared / "t.parquet", image=images, labels=rows)
        listing = read_manifest(path)
        assert [list(row.labels) for row in listing.rows] == rows
        assert [(row.at, row.image) for row in listing.rows] == list(enumerate(images, start=1))
        parquet.write_table(parquet.read_table(path).slice(4, 5), path)
        assert [list(row.labels) for row in read_manifest(path).rows] == rows[4:9]
        for wrong, expected in (([["a", ""]], "row 8 must hold class names"), ([None], "row 8 ")):
            parts = [["x"]] * 7 + wrong + [["x"]] * 2
            path = write_parquet(shared / "t.parquet", image=images, labels=parts)
            assert refusal(path).startswith(f"t.parquet {expected}")


ODD = st.text(st.sampled_from("abß;|,\"'\n\\[]{}#é\u0301Ж日שא 1"), min_size=1, max_size=6).map(
    lambda text: text.strip()
)


def one_spelling(name):
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


@settings(max_examples=8)
@given(
    data=st.data(),
    names=st.lists(
        ODD.filter(bool),
        min_size=1,
        max_size=4,
        unique_by=one_spelling,
    ),
    suffix=st.sampled_from([".parquet", ".csv", ".jsonl"]),
)
def test_round_trip_of_what_is_written(shared, data, names, suffix):
    cells = st.lists(st.sampled_from([1, 0, -1]), min_size=len(names), max_size=len(names))
    labels = np.array(data.draw(st.lists(cells, min_size=4, max_size=4)), np.int8)
    labels[0, labels.max(0) == -1] = 1  # a class of which nothing is known is lost in text
    captions = data.draw(st.lists(ODD, min_size=4, max_size=4))
    splits = data.draw(st.lists(st.sampled_from(["train", "test"]), min_size=4, max_size=4))
    said = stated(names, "unknown")
    source = write_parquet(
        shared / "source.parquet",
        said,
        image=IMAGES,
        labels=pa.array(
            [[n for n, v in zip(names, row, strict=True) if v == 1] for row in labels],
            pa.list_(pa.string()),
        ),
        negatives=pa.array(
            [[n for n, v in zip(names, row, strict=True) if v == 0] for row in labels],
            pa.list_(pa.string()),
        ),
        split=splits,
        caption=captions,
    )
    before = load(source, "stated")
    assert before.labels.tolist() == labels.tolist()
    parts = [load(source, "stated", split) for split in sorted(set(splits))]
    path = shared / f"written{suffix}"
    write_manifest(path, parts)
    for part in parts:
        again = load(path, "stated", part.split).in_order(part.class_names)
        assert again.labels.tolist() == part.labels.tolist()
        assert again.image_ids == part.image_ids
        assert again.captions == part.captions


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_what_has_no_splits_is_written_without(shared, suffix):
    WRITERS["list.csv"](shared / "list.csv")
    path = shared / f"written{suffix}"
    write_manifest(path, [load(shared / "list.csv")])
    assert load(path, "stated").labels.tolist() == load(shared / "list.csv").labels.tolist()


def test_csv_of_other_programs(shared):
    """Quotes as Excel writes them, after a byte order mark."""
    path = shared / "excel.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";", quoting=csv.QUOTE_ALL).writerows(
            [["image", "labels"], ["data/0.png", "a;b"], ["data/1.png", ""]]
        )
    assert load(path).labels.tolist() == [[1, 1], [0, 0]]


A, B = IMAGES[:2]


def test_cells_of_pandas_and_of_decimal_commas(shared):
    for text in (
        f"image,cat,dog\n{A},True,False\n{B},False,True\n",
        f"image;cat;dog\n{A};1,0;0,0\n{B};0,0;1,0\n",
    ):
        assert load(put(shared, "t.csv", text), "stated").labels.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"image,labels\n{A},cat\0\n", "line 2 must be UTF-8 text, but holds NUL"),
        (f"image,cat,\n{A},1,\n", "column 3 has no name"),
        (f"image,label,negatives\n{A},cat,dog\n", "'negatives' has no place"),
        (f"image,label,confidence\n{A},cat,0\n", "call 'confidence' 'value'"),
        (f"Image,Labels\n{A},cat\n", "call 'Image' 'image'"),
        (f'image,labels,caption\n{A},a,"x\ny"\n{A},b,z\n', "on lines 2 and 4"),
        (f'image,labels\n{A},a\n\n{B},"b\n', "line 4 must hold fields"),
    ],
)
def test_what_a_table_would_lose_or_misplace(shared, text, expected):
    assert expected in refusal(put(shared, "t.csv", text))


def test_vectors_are_not_read_as_class_numbers(shared):
    vectors = [[1, 0, 0], [0, 1, 1]]
    path = write_parquet(shared / "t.parquet", stated(), image=[A, B], labels=vectors)
    assert "has a 0 or 1 for each of the 3" in refusal(path, "stated")
    ram = {"images": [[A, [1, 0, 0]]], "classes": list(NAMES)}
    assert "has a 0 or 1 for each of the 3" in refusal(put(shared, "t.json", ram))


@pytest.mark.parametrize("labels", [[[True, False]], [[{"label": "cat"}]]])
def test_parquet_of_other_elements(shared, labels):
    path = write_parquet(shared / "t.parquet", stated(), image=[A], labels=labels)
    assert "must hold a list of names or of class numbers" in refusal(path, "stated")


@pytest.mark.parametrize("key", [{"class_ids": 5}, {"new": ["zebra"]}])
def test_metadata_that_are_wrong(shared, key):
    path = write_parquet(shared / "t.parquet", stated() | key, image=[A], labels=[["cat"]])
    assert "write it again" in refusal(path, "stated")


def test_half_a_character(shared):
    path = shared / "t.jsonl"
    path.write_text(f'{{"image": "{A}", "labels": ["a\\ud800"]}}\n')
    assert "half of a character" in refusal(path)


def test_answers_of_other_kinds_are_noted(shared):
    box = {"type": "rectanglelabels", "value": {}}
    choice = {"type": "choices", "value": {"choices": ["cat"]}}
    tasks = [
        {
            "data": {"image": "/data/local-files/?d=data%2F0.png"},
            "annotations": [{"result": [box, choice]}],
        },
        {"data": {"image": B}, "annotations": [{"result": None}]},
    ]
    data = load(put(shared, "t.json", tasks))
    assert data.labels.tolist() == [[1], [0]]
    assert data.notes == ("Choices are read, and rectanglelabels are not.",)


ENDLESS = "9" * 5000


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("deep.csv", "image,labels\ndata/0.png," + "[" * 100_000, "none (it is too deep): [["),
        ("digits.json", f"[{ENDLESS}]", "digits.json must be whole JSON, but is not (Exceeds"),
        ("long.txt", "a" * 300, "long.txt must name images that are there, relative to its own "),
        ("long2.txt", "/" + "a" * 300, "has 1 of 1 at absolute places where they are not: /aaa"),
        ("digits.txt", f"data/0.png {ENDLESS}", "line 1 must give numbers of classes, but gives o"),
        ("half.json", [{"image": "data/0.png", "labels": ["a\0b"]}], "holds what no text has (NUL"),
        (
            "long.json",
            [["a" * 99]],
            f'must be an object with image and labels, but is ["{"a" * 55}….',
        ),
        (
            "studio.json",
            [{"data": {"image": "data/0.png"}, "annotations": [{"result": 5}]}],
            "studio.json record 1 must hold a list in 'result', but holds 5.",
        ),
        (
            "ids.json",
            {
                "metainfo": {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
                "data_list": [{"img_path": "data/0.png", "gt_label": [1]}],
            },
            "ids.json must number its categories apart, but repeats an id.",
        ),
    ],
)
def test_damaged_text(shared, name, content, expected):
    put(shared, "classes.txt", "cat\ndog\n")
    assert expected in refusal(put(shared, name, content))


def test_damaged_metadata_of_parquet(shared):
    path = shared / "deep.parquet"
    schema = pa.schema({"image": pa.string(), "labels": pa.list_(pa.string())})
    table = pa.table([["data/0.png"], [["cat"]]], schema=schema)
    parquet.write_table(table.replace_schema_metadata({KEY: "[" * 100_000}), path)
    assert "must hold JSON in its metadata ccr-diag" in refusal(path)
    parquet.write_table(pa.table([["a"], [["b"]], [["c"]]], ["image", "labels", "labels"]), path)
    assert refusal(path) == "deep.parquet needs each column once, but has 'labels' twice; drop one."


def test_cells_of_parquet_that_say_nothing(shared):
    cells = pa.array([[1, 0, None], [0, -1, 1]], pa.list_(pa.int8()))
    path = shared / "cells.parquet"
    for unlisted, unknown in (("negative", 0), ("unknown", -1)):
        write_parquet(path, stated(unlisted=unlisted), image=IMAGES[:2], labels=cells)
        assert load(path, unlisted).labels.tolist() == [[1, 0, unknown], [0, unknown, 1]]


def test_declared_names_keep_their_blanks(shared):
    path = shared / "blanks.parquet"
    write_parquet(path, stated([" cat"]), image=IMAGES[:1], labels=[[" cat"]])
    assert load(path, "stated").labels.tolist() == [[1]]


def test_names_of_numbers_alone(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "7", "png")
    put(tmp_path, "classes.txt", "cat\ndog\n")
    assert load(put(tmp_path, "list.txt", "7 1\n")).labels.tolist() == [[0, 1]]


def test_one_label_of_fiftyone_and_hidden_files(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("0.png", ".hidden.png", ".hidden.jpg"):
        Image.new("RGB", (3, 3)).save(tmp_path / "data" / name)
    data = load(put(tmp_path, "labels.json", {"classes": ["cat", "dog"], "labels": {"0": "dog"}}))
    assert data.labels.tolist() == [[0, 1]]


def test_what_is_said_twice_says_nothing_of_the_rest(shared):
    content = {"images": [["data/0.png", ["cat", "cat"]]], "classes": ["cat", "dog"]}
    path = put(shared, "twice.json", content)
    assert "does not say what a class means" in refusal(path, "stated")
    assert load(path, split="train").labels.tolist() == [[1, 0]]


def test_ids_and_numbers_need_declared_classes(shared):
    path = shared / "ids.parquet"
    write_parquet(path, image=IMAGES[:2], labels=[["cat"], []], id=[5, 5])
    assert load(path).image_ids == IMAGES[:2]
    write_parquet(path, stated(), image=IMAGES[:1], labels=[[-1]])
    assert "row 1 must number a class in column 'labels', but has -1" in refusal(path, "stated")
