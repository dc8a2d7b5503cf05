"""``ccr-diag data``: checked, converted and split, from files on the disk."""

import csv
import io
import json
import re
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ccr_diag.config import FinetuneConfig, config_from_dict
from ccr_diag.data import load_dataset
from ccr_diag.data.class_splits import split_classes
from ccr_diag.data.fewshot import drawn_rows
from ccr_diag.data.groups import class_counts
from ccr_diag.data.shared_lists import listed_rows
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.grids import load_grid, run_name


@pytest.fixture
def own(tmp_path):
    """Writes images and a manifest of rows (image, labels, split); returns the data set's name."""

    def write(*rows):
        for i, (image, *_) in enumerate(rows):
            path = tmp_path / image
            path.exists() or Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
        with (tmp_path / "own.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["image", "labels", "split"], *rows])
        return f"manifest:{tmp_path / 'own.csv'}"

    return write


ROWS = (
    ("a.png", "hot_dog;cat", "train"),
    ("b.png", "hot dog;cat", "train"),
    ("c.png", "", "test"),
)


def test_check_says_problems_first_and_a_verdict_last(ccr, own):
    result = ccr("data", "check", own(*ROWS), "--unlisted", "negative")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "Problem: Classes have the same prompt: 'hot dog' and 'hot_dog'."
    assert lines[1] == "Problem: 3 classes of 3 are in no image of test: cat, hot dog, hot_dog."
    assert lines[2] == ""
    assert lines[-1] == "Usable: 2 problems found, and no image was opened."
    assert any(line.split()[:4] == ["train", "2", "4", "2"] for line in lines)
    header = "class prompt group train + train - test + test -"
    assert header.split() in [line.split() for line in lines]
    assert ["hot_dog", "hot", "dog", "tail", "1", "1", "0", "1"] in [line.split() for line in lines]
    title = " ".join(lines[3:5])
    assert ": 3 classes: 0 head, 0 medium, 3 tail, by their images in train" in title


def test_check_shows_people_the_ends_of_many_classes_and_programs_all(ccr, own):
    every = ";".join(f"c{i}" for i in range(101))
    asked = ["data", "check", own(("a.png", every, "train"), ("b.png", "", "train"))]
    text = ccr(*asked, "--unlisted", "negative").stdout.splitlines()
    assert text[-2:] == [
        "100 of 101 classes are shown; --format csv has all.",
        "Usable: no problem found, and no image was opened.",
    ]
    assert sum(line.startswith("c") and "head" not in line for line in text) == 101  # and a header
    for form in ("csv", "markdown"):
        said = ccr(*asked, "--unlisted", "negative", "--format", form).stdout
        assert all(re.search(rf"\bc{i}\b", said) for i in range(101))


def test_check_opens_images_where_asked(ccr, own, tmp_path):
    name = own(*ROWS, ("d.png", "cat", "test"))
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert ccr("data", "check", name, "--unlisted", "negative").exit_code == 0
    result = ccr("data", "check", name, "--unlisted", "negative", "--images")
    assert result.exit_code == 2
    first, *others = result.stdout.splitlines()
    assert first.startswith("Stops any run: 1 of 2 images of train cannot be opened: b.png (Image")
    assert "Problem: 1 image of test is also in train, by other names: c.png." in others
    assert others[-1] == "Not usable as it is: 4 problems, 1 to be mended before any run."
    assert "images of train: 2 of 2" in result.stderr


def test_check_in_every_format_and_into_a_file(ccr, own, tmp_path):
    asked = ["data", "check", own(*ROWS), "--unlisted", "negative", "--format"]
    said = json.loads(ccr(*asked, "json").stdout)
    assert said["usable"]
    assert len(said["problems"]) == 2
    assert [it["split"] for it in said["splits"]] == ["train", "test"]
    result = ccr(*asked, "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 6
    assert rows[0]["class"] == "cat"
    assert rows[0]["present"] == "2"
    assert "Usable: 2 problems" in result.stderr
    markdown = ccr(*asked, "markdown").stdout
    assert markdown.startswith("- Problem: ")
    assert "| class | prompt | group |" in markdown
    assert r"\toprule" in ccr(*asked, "latex").stdout
    written = ccr(*asked, "json", "-o", tmp_path / "check.json")
    assert json.loads((tmp_path / "check.json").read_text()) == said
    assert "Problem: " in written.stderr
    again = ccr(*asked, "json", "-o", tmp_path / "check.json")
    assert again.exit_code == 2
    assert "add --overwrite to replace it" in again.stderr


def test_check_reads_the_splits_asked_for_and_tells_of_those_it_cannot(ccr, own):
    name = own(*ROWS)
    result = ccr("data", "check", name, "--unlisted", "negative", "--split", "test")
    assert "train" not in result.stdout
    asked = ["data", "check", name, "--unlisted", "negative", "--split", "tset"]
    only = ccr(*asked)
    assert (only.exit_code, only.stdout) == (2, "")
    assert only.stderr.startswith("Error: ")
    assert "has no split 'tset'; did you mean 'test'?" in only.stderr
    among = ccr(*asked, "--split", "test")
    assert among.exit_code == 2
    assert among.stdout.startswith("Stops any run: ")
    assert any(line.split()[:2] == ["test", "1"] for line in among.stdout.splitlines())
    undeclared = ccr("data", "check", name)
    assert undeclared.exit_code == 2
    assert "--unlisted negative if every class was looked for" in undeclared.stderr


def test_check_of_a_model_finds_names_that_its_prompts_cannot_hold(ccr, own, tiny_clip):
    rows = [("a.png", "cat", "train"), ("b.png", "very " * 40 + "long", "train")]
    asked = ["data", "check", own(*rows), "--unlisted", "negative"]
    assert ccr(*asked).exit_code == 0
    result = ccr(*asked, "--model", tiny_clip)
    assert result.exit_code == 2
    assert result.stdout.startswith("Stops any run: Class 'very very")
    assert "'cat'" not in result.stdout


def test_check_and_split_say_what_they_would_do(ccr, own, tmp_path):
    name = own(*ROWS)
    declared = ["--unlisted", "negative"]
    result = ccr("data", "check", name, *declared, "--images", "--dry-run")
    assert result.stdout.splitlines()[-2:] == ["Opens: every image", "Writes: to the terminal"]
    flags = ["--unlisted", "negative", "--shots", 1, "--splits", 2, "-o", tmp_path / "lists"]
    result = ccr("data", "split", name, *flags, "--dry-run")
    assert f"Writes: {tmp_path / 'lists' / 'shots-1-seed-2.txt'}" in result.stdout
    assert not (tmp_path / "lists").exists()
    printed = ccr("data", "split", name, *flags, "--print-config").stdout
    (tmp_path / "split.toml").write_text(printed, encoding="utf-8")
    assert ccr("data", "split", "--config", tmp_path / "split.toml").exit_code == 0
    assert len(list((tmp_path / "lists").iterdir())) == 2


def test_shots_are_those_that_finetune_draws(ccr, drawn_data, tmp_path):
    flags = ["--shots", 3, "--splits", 3, "--new-class", "grey square", "-o", tmp_path]
    result = ccr("data", "split", drawn_data, *flags)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    train = load_dataset(drawn_data, "train").with_new(["grey square"])
    labels = train.labels[:, ~train.new]
    for seed in (1, 2, 3):
        path = tmp_path / f"shots-3-seed-{seed}.txt"
        rows = drawn_rows(labels, 3, seed)
        np.testing.assert_array_equal(listed_rows(path, "toy", train.image_ids), rows)
        header, counts, *ids = path.read_text().splitlines()
        assert header.endswith(f", split train: 3 of each of 3 base classes, seed {seed}")
        got = class_counts(labels[rows]).tolist()
        assert counts == (
            f"# {len(rows)} images; blue square {got[0]}, green square {got[1]}, "
            f"red square {got[2]}"
        )
        assert ids == [train.image_ids[i] for i in rows]
    listed = tomllib.loads((tmp_path / "classes.toml").read_text())
    assert listed == {"new": ["grey square"], "base": ["blue square", "green square", "red square"]}
    again = ccr("data", "split", drawn_data, *flags)
    assert again.exit_code == 2
    assert "classes.toml exists; add --overwrite" in again.stderr
    assert ccr("data", "split", drawn_data, *flags, "--overwrite").exit_code == 0


def test_a_class_split_is_read_back(ccr, drawn_data, tmp_path):
    ccr("data", "split", drawn_data, "--class-split", "first-half", "-o", tmp_path)
    data = load_dataset(drawn_data, "train")
    back = split_classes(data, str(tmp_path / "classes.toml"))
    expected = split_classes(data, "first-half")
    assert back.class_names == expected.class_names
    assert back.new_names == expected.new_names == ("grey square", "red square")


def test_split_needs_to_be_asked_for_something(ccr, drawn_data):
    result = ccr("data", "split", drawn_data)
    assert result.exit_code == 2
    assert "A list is of images or of classes, but neither was asked for" in result.stderr
    for flags in (["--seed", 2], ["--splits", 2]):
        result = ccr("data", "split", drawn_data, "--new-class", "grey square", *flags)
        assert result.exit_code == 2
        assert "--seed and --splits are of lists of images, but none were asked" in result.stderr
    beyond = ccr("data", "split", drawn_data, "--shots", 1, "--seed", 2**31 - 1, "--splits", 2)
    assert (beyond.exit_code, "seed must lie in 0" in beyond.stderr) == (2, True)


@pytest.fixture
def tuned(ccr, tiny_clip, drawn_data, tmp_path):
    """``tuned(name, *flags)`` is the run folder of a small run."""

    def run(name, *flags, code=0):
        own = ["--model", tiny_clip, "--data", drawn_data, "--new-class", "grey square"]
        result = ccr(
            "finetune", *own, "--epochs", 2, "--device", "cpu", *flags, "-o", tmp_path / name
        )
        assert result.exit_code == code, result.output
        return result if code else tmp_path / name / "split-1"

    return run


def test_listed_examples_make_the_run_that_drew_them(ccr, tuned, drawn_data, tmp_path):
    flags = ["--shots", 2, "--new-class", "grey square", "-o", tmp_path]
    assert ccr("data", "split", drawn_data, *flags).exit_code == 0
    drawn = tuned("drawn", "--shots", 2)
    tensors = load_file(drawn / "checkpoint.safetensors")
    # The list that was written, that of the run itself, and the same in another order with
    # the line ends of Windows.
    lines = (drawn / "examples.txt").read_text().splitlines()
    turned = tmp_path / "turned.txt"
    turned.write_bytes("\r\n".join(["# mine", "", *lines[::-1]]).encode("utf-8-sig"))
    for path in (tmp_path / "shots-2-seed-1.txt", drawn / "examples.txt", turned):
        listed = tuned(path.stem, "--examples", path)
        same = load_file(listed / "checkpoint.safetensors")
        assert tensors.keys() == same.keys()
        assert all(torch.equal(tensors[key], same[key]) for key in tensors)
        config = tomllib.loads((listed / "config.toml").read_text())
        assert (config["examples"], config["shots"]) == (str(path), 0)
    turned.write_text("\n".join(lines[1:]))
    (tmp_path / "turned" / "split-1" / "DONE").unlink()
    refused = tuned("turned", "--examples", turned, "--resume", code=2)
    assert "A run goes on with the examples it began with" in refused.stderr


def test_a_grid_takes_listed_examples(tmp_path):
    grid = """
splits = 2
[settings]
regularizer = "ccr"
[grid]
examples = ["a.txt", "b.txt"]
"""
    (tmp_path / "grid.toml").write_text(grid)
    runs = load_grid(str(tmp_path / "grid.toml")).runs
    assert [(run.examples, run.seed, run.shots) for run in runs] == [
        ("a.txt", 1, 0), ("a.txt", 2, 0), ("b.txt", 1, 0), ("b.txt", 2, 0),
    ]  # fmt: skip
    assert len({run_name(run) for run in runs}) == 2


@pytest.mark.parametrize(
    ("framework", "first_id"), [("tai_dpt", "caption "), ("t2i_pal", "")], ids=lambda it: it or "_"
)
def test_captions_and_their_images_are_listed_too(tuned, framework, first_id):
    flags = ["--framework", framework]
    drawn = tuned("drawn", *flags, "--shots", 2)
    again = tuned("again", *flags, "--examples", drawn / "examples.txt")
    assert (drawn / "examples.txt").read_text().startswith(first_id)
    first, second = (load_file(run / "checkpoint.safetensors") for run in (drawn, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


def listing(folder, text, ids=("a.png", "b.png", "#1.png"), encoding="utf-8"):
    path = folder / "list.txt"
    path.write_bytes(text.encode(encoding))
    return listed_rows(path, "toy", ids).tolist()


def test_lines_are_ids_and_comments_are_not(tmp_path):
    assert listing(tmp_path, "# by me\n\n b.png \n#1.png\n#2.png\na.png") == [1, 2, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "must list an example a line, but lists none."),
        (
            "a.png\nc.png\nd.png",
            "must list examples of toy, but 2 of its 3 are none, such as 'c.png'; did you mean "
            "'b.png'?",
        ),
        ("zebra", "must list examples of toy, but 1 of its 1 are none, such as 'zebra'."),
        (
            "a.png\nb.png\na.png",
            "must list each example once, but lists 'a.png' 2 times; drop one.",
        ),
    ],
)
def test_bad_lists(tmp_path, text, message):
    with pytest.raises(BadData) as error:
        listing(tmp_path, text)
    assert str(error.value) == f"{tmp_path / 'list.txt'} {message}"


def test_lists_that_are_no_text(tmp_path):
    with pytest.raises(BadConfig, match=r"but .*none\.txt cannot be read \(No such file"):
        listed_rows(tmp_path / "none.txt", "toy", ["a"])
    with pytest.raises(BadConfig, match="must be UTF-8 text, but .* is not"):
        listing(tmp_path, "é", encoding="latin-1")


def test_a_list_without_a_base_class_is_refused(tuned, drawn_data, tmp_path):
    train = load_dataset(drawn_data, "train").with_new(["grey square"])
    row = int(np.flatnonzero(~(train.labels[:, ~train.new] == 1).any(axis=1))[0])
    (tmp_path / "list.txt").write_text(train.image_ids[row])
    result = tuned("run", "--examples", tmp_path / "list.txt", code=2)
    assert "needs examples that show a base class, but none of 1 does" in result.stderr


def test_images_are_listed_or_drawn():
    assert config_from_dict({"examples": "a.txt"}).shots == 0
    assert config_from_dict({"examples": "a.txt", "shots": 0}).examples == "a.txt"
    assert FinetuneConfig(examples="a.txt", shots=0).examples == "a.txt"
    for wrong in ({"examples": "a.txt", "shots": 4}, {"examples": "a.txt", "shots": 16}):
        with pytest.raises(BadConfig) as error:
            config_from_dict(wrong)
        assert str(error.value) == (
            "Training images are listed in a file or drawn, but got examples 'a.txt' with shots "
            f"{wrong['shots']}; leave one out, or set shots to 0."
        )
    made = {"framework": "t2i_pal", "images_from": "diffusers", "generator": "x"}
    with pytest.raises(BadConfig, match="Images that are yet to be made cannot be listed"):
        config_from_dict(made | {"examples": "a.txt"})
