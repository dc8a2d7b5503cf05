import csv
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from ccr_diag.data import load_dataset
from ccr_diag.errors import BadData


@pytest.fixture
def folder(tmp_path):
    """Pictures of single colours in a sub-folder: images/0.png … 4.png."""
    (tmp_path / "images").mkdir()
    for i in range(5):
        Image.new("RGB", (6, 4), (40 * i, 10, 200)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def write(folder, text, encoding="utf-8"):
    path = folder / "m.csv"
    path.write_bytes(text.encode(encoding))
    return path


def load(folder, text, split="all", encoding="utf-8", unlisted="stated"):
    """Without a column of negatives, what is not listed is declared to be absent."""
    if unlisted == "stated" and "negatives" not in text.split("\n")[0]:
        unlisted = "negative"
    return load_dataset(f"manifest:{write(folder, text, encoding)}", split, unlisted)


def message(folder, text, split="all", encoding="utf-8"):
    """What a bad file says, with “m.csv” for its path."""
    with pytest.raises(BadData) as error:
        load(folder, text, split, encoding)
    return str(error.value).replace(str(folder / "m.csv"), "m.csv")


FULL = (
    "image,labels,split,note\n"
    "images/0.png,cat;dog,train,a\n"
    "images/1.png,,train,b\n"
    'images/2.png,"[""traffic light; red"", ""dog""]",test,c\n'
    "images/3.png, horse | cat ,test,d\n"
)
NAMES = ("cat", "dog", "horse", "traffic light; red")


def test_round_trip(folder):
    data = load(folder, FULL)
    assert (data.name, data.split, data.class_names) == ("manifest:m.csv", "all", NAMES)
    assert data.labels.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    assert data.labels.dtype == np.int8
    assert data.image_ids == tuple(f"images/{i}.png" for i in range(4))
    assert not data.new.any()
    for i in range(4):
        picture = data.open_image(i)
        assert (picture.mode, picture.size) == ("RGB", (6, 4))
        assert picture.getpixel((0, 0)) == (40 * i, 10, 200)
        content = (folder / "images" / f"{i}.png").read_bytes()
        assert data.digest(i) == hashlib.sha256(content).hexdigest()


def test_a_split_keeps_the_classes_of_the_whole_file(folder):
    test = load(folder, FULL, "test")
    assert test.split == "test"
    assert test.class_names == NAMES
    assert test.image_ids == ("images/2.png", "images/3.png")
    assert test.labels.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert test.open_image(1).getpixel((0, 0)) == (120, 10, 200)


def test_only_the_chosen_split_needs_its_images(folder):
    text = FULL.replace("images/0.png", "images/elsewhere.png")
    assert len(load(folder, text, "test")) == 2
    assert message(folder, text, "train").endswith(
        f"but 1 of 2 are not: {folder}/images/elsewhere.png."
    )


def test_with_negatives_the_unlisted_are_unknown(folder):
    data = load(
        folder,
        "negatives,image,labels\ndog,images/0.png,cat\n,images/1.png,dog\ncow|cat,images/2.png,\n",
    )
    assert data.class_names == ("cat", "cow", "dog")
    assert data.labels.tolist() == [[1, -1, 0], [-1, -1, 1], [0, 0, -1]]


def test_captions_come_with_their_images(folder):
    assert load(folder, FULL).captions is None
    text = (
        "image,caption,labels,split\n"
        'images/0.png," A cat, wet. ",cat,train\n'
        "images/1.png,,dog,test\n"
        "images/2.png,two dogs,dog,test\n"
    )
    assert load(folder, text).captions == ("A cat, wet.", "", "two dogs")
    assert load(folder, text, "test").captions == ("", "two dogs")
    assert load(folder, text.replace("two dogs", ""), "test").captions == ("", "")


def test_byte_order_mark_and_windows_lines(folder):
    text = "image,labels\r\nimages/0.png,Möwe\r\n\r\nimages/1.png,\r\n"
    data = load(folder, text, encoding="utf-8-sig")
    assert data.class_names == ("Möwe",)
    assert data.labels.tolist() == [[1], [0]]


def test_new_classes_are_named_afterwards(folder):
    data = load(folder, FULL, "train").with_new(["horse"])
    assert data.new.tolist() == [False, False, True, False]


def test_digest_reads_a_file_once(folder):
    data = load(folder, FULL)
    before = data.digest(0)
    for i in (0, 1):
        (folder / "images" / f"{i}.png").unlink()
    assert data.digest(0) == before
    with pytest.raises(BadData) as error:
        data.digest(1)
    path = folder / "images" / "1.png"
    assert str(error.value) == f"Image {path} cannot be read (No such file or directory)."


def test_absolute_paths_and_every_kind_of_picture(folder):
    transparent = Image.new("P", (6, 4))
    transparent.putpalette([9, 8, 7] * 256)
    transparent.save(folder / "palette.png", transparency=b"\x00\x80")
    Image.new("L", (6, 4), 77).save(folder / "grey.jpg")
    Image.new("RGBA", (6, 4), (1, 2, 3, 4)).save(folder / "alpha.png")
    data = load(folder, f"image,labels\n{folder / 'palette.png'},a\ngrey.jpg,a\nalpha.png,a\n")
    colours = [data.open_image(i).getpixel((0, 0)) for i in range(3)]
    assert colours == [(9, 8, 7), (77, 77, 77), (1, 2, 3)]


def whole_picture():
    """A PNG file that compresses badly."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"not a picture", b"", whole_picture()[:1000]], ids=["text", "empty", "cut"]
)
def test_unreadable_images_are_named(folder, content):
    data = load(folder, FULL)
    path = folder / "images" / "3.png"
    path.write_bytes(whole_picture())
    assert data.open_image(3).size == (30, 30)
    path.write_bytes(content)
    with pytest.raises(BadData) as error:
        data.open_image(3)
    assert str(error.value).startswith(f"Image {path} cannot be read (")
    assert str(error.value).endswith(").")


HOW = "separate names by ';' or '|', or write a JSON list like [\"cat\", \"dog, wet\"]."
A, B = "images/0.png", "images/1.png"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "m.csv needs a header with columns image and labels on line 1, but that is empty."),
        ("image,labels\n", "m.csv needs at least one row below its header, but has none."),
        (
            f"image,tags\n{A},cat\n",
            "m.csv needs columns image and labels, or a column of 1, 0, -1 or nothing for each "
            "class, but line 2 holds 'cat' in 'tags'; call 'tags' 'labels' and separate its "
            "names by ';'.",
        ),
        (
            f"image labels\n{A} cat\n",
            "m.csv needs columns image and labels, separated by commas, but 'image' is not in its "
            "header: image labels.",
        ),
        (
            f"image,labels,labels\n{A},cat,dog\n",
            "m.csv needs each column once, but 'labels' is there twice; drop one.",
        ),
        (
            f"image,labels,Negative\n{A},cat,dog\n",
            "m.csv has 'Negative', which is too like 'negatives' to be ignored; call it "
            "'negatives' if it is that, or something else if it is not.",
        ),
        (
            f"image,labels,Split\n{A},cat,dog\n",
            "m.csv has 'Split', which is too like 'split' to be ignored; call it 'split' "
            "if it is that, or something else if it is not.",
        ),
        (
            f"image,labels,captions\n{A},cat,a cat\n",
            "m.csv has 'captions', which is too like 'caption' to be ignored; call it "
            "'caption' if it is that, or something else if it is not.",
        ),
        (
            f"image,labels\n{A},cat,dog\n",
            "m.csv line 2 must have as many fields as the header, but has more; put double quotes "
            "around a field that holds a comma.",
        ),
        (
            f"image,labels\n{A},cat\n{B}\n",
            "m.csv line 3 must have as many fields as the header, but has fewer; put double quotes "
            "around a field that holds a comma.",
        ),
        (
            "image,labels\n,cat\n",
            "m.csv line 2 needs a value in column 'image', but it is empty.",
        ),
        (
            f"image,labels,split\n{A},cat,train\n{B},cat, \n",
            "m.csv line 3 needs a value in column 'split', but it is empty.",
        ),
        (
            f"image,labels\n{A},cat;;dog\n",
            "m.csv line 2 has an empty name or something other than a name in 'labels': "
            f"cat;;dog; {HOW}",
        ),
        (
            f'image,labels\n{A},"[""cat"", 3]"\n',
            "m.csv line 2 has an empty name or something other than a name in 'labels': "
            f'["cat", 3]; {HOW}',
        ),
        (
            f"image,labels\n{A},[cat]\n",
            "m.csv line 2 has a field in 'labels' that begins like a JSON list and is none "
            f"(Expecting value): [cat]; {HOW}",
        ),
        (
            f'image,labels\n{A},"cat, dog"\n',
            f"m.csv line 2 has a comma in 'labels', where it separates nothing: cat, dog; {HOW}",
        ),
        (
            f"image,labels,negatives\n{A},cat,dog\n{B},cow;cat,dog;cat\n",
            "m.csv line 3 must list a class in labels or in negatives, but 'cat' is in both; drop "
            "one.",
        ),
        (
            f"image,labels\n{A},cat\n{B},dog\nimages/../{A},dog\n",
            f"m.csv must list each image once, but 'images/../{A}' is on lines 2 and 4; join them "
            "into one row.",
        ),
        (
            f"image,labels\n{A},\n{B},\n",
            "m.csv needs a class name in at least one row, but no row has any.",
        ),
        (
            f'image,labels\n{A},"cat\n',
            "m.csv line 2 must hold fields separated by commas, but does not (unexpected end of "
            "data); put double quotes around a field that holds a double quote, and write that "
            "twice.",
        ),
    ],
)
def test_bad_files(folder, text, expected):
    assert message(folder, text) == expected


def test_line_numbers_count_lines_not_rows(folder):
    text = f'image,labels,note\n{A},cat,"two\nlines"\n\n{B},;,x\n'
    assert message(folder, text).startswith("m.csv line 5 has an empty name")


def test_bad_splits(folder):
    assert message(folder, FULL, "tset") == "m.csv has no split 'tset'; did you mean 'test'?"
    assert message(folder, FULL, "calibration") == (
        "m.csv has no split 'calibration'; known are all, test, train."
    )
    assert message(folder, f"image,labels\n{A},cat\n", "test") == (
        "m.csv needs a column 'split' for split 'test' to be chosen, but has none; add it, or ask "
        "for 'all'."
    )


def test_missing_images_are_counted_and_some_named(folder):
    rows = "".join(f"gone/{i}.png,cat\n" for i in range(5))
    assert message(folder, f"image,labels\n{A},cat\n{rows}") == (
        "m.csv must name images that are there, relative to its own folder, but 5 of 6 are not: "
        f"{folder}/gone/0.png, {folder}/gone/1.png, {folder}/gone/2.png and 2 more."
    )


def test_files_that_are_no_manifest(folder):
    assert message(folder, "image,labels\nimages/0.png,Möwe\n", encoding="latin-1") == (
        "A manifest must be UTF-8 text, but m.csv is not; save it as UTF-8."
    )
    (folder / "d.csv").mkdir()
    for path, why in (("none.csv", "is not there"), ("d.csv", "is a folder")):
        with pytest.raises(BadData) as error:
            load_dataset(f"manifest:{folder / path}", "all")
        assert str(error.value) == f"A manifest must be a file, but {folder / path} {why}."
    with pytest.raises(BadData) as error:
        load_dataset("manifest", "all")
    assert str(error.value) == (
        "A manifest needs its file, as in manifest:labels.csv, but none was named."
    )
    with pytest.raises(BadData) as error:
        load_dataset(f"manifest:{folder / 'images'}", "all")
    assert str(error.value) == (
        "A manifest must end in .csv, .tsv, .jsonl, .json, .parquet, .txt, but is called 'images'; "
        "write its format's suffix."
    )


def test_unlisted_classes_must_be_declared(folder):
    text = f"image,labels\n{A},cat\n{B},dog\n"
    spec = f"manifest:{write(folder, text)}"
    with pytest.raises(BadData) as error:
        load_dataset(spec, "all")
    assert str(error.value).endswith(
        "m.csv does not say what a class means that an image does not list; add --unlisted "
        "negative if every class was looked for in every image, else --unlisted unknown."
    )
    assert load_dataset(spec, "all", "unknown").labels.tolist() == [[1, -1], [-1, 1]]
    assert load_dataset(spec, "all", "negative").labels.tolist() == [[1, 0], [0, 1]]
    text = f"image,labels,negatives\n{A},cat,\n{B},dog,cat\n"
    stated = f"manifest:{write(folder, text)}"
    assert load_dataset(stated, "all", "unknown").labels.tolist() == [[1, -1], [0, 1]]
    with pytest.raises(BadData, match="says itself .* is unknown, but got --unlisted negative"):
        load_dataset(stated, "all", "negative")


def test_where_every_class_is_listed_nothing_is_to_declare(folder):
    text = f"image,labels\n{A},cat;dog\n{B},dog;cat\n"
    spec = f"manifest:{write(folder, text)}"
    assert load_dataset(spec, "all").labels.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_shows_the_delimiter(folder, delimiter):
    rows = [("caption", "image", "labels"), ("a, b; c", A, "cat|dog"), ("", B, '["x;y"]')]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    data = load(folder, out.getvalue())
    assert data.class_names == ("cat", "dog", "x;y")
    assert data.labels.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert data.captions == ("a, b; c", "")


def test_a_header_of_two_delimiters_is_refused(folder):
    assert message(folder, f"image,labels;image\n{A},cat;{A}\n") == (
        "m.csv must separate its columns in one way, but its header reads as separated by commas "
        "and by semicolons: image,labels;image; rename a column."
    )


def test_tabs_alone_separate_tsv(folder):
    (folder / "m.tsv").write_text(f"image\tlabels\tnegatives\n{A}\tcat;dog\t\n")
    data = load_dataset(f"manifest:{folder / 'm.tsv'}", "all")
    assert data.class_names == ("cat", "dog")


def test_other_names_of_the_image_column(folder):
    for name in ("path", "file_name"):
        assert load(folder, f"{name},labels\n{A},cat\n").image_ids == (A,)
    assert load(folder, f"path,labels,image\nx,cat,{A}\n").image_ids == (A,)
    assert message(folder, f"path,labels,file_name\n{A},cat,{A}\n") == (
        "m.csv must name the image in one place, but has file_name and path; call the right one "
        "'image'."
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dog", "dog"),
        ("caf\u00e9", "cafe\u0301"),
        ("hot  dog", "hot dog"),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_two_spellings_of_a_class(folder, one, other):
    text = f"image,labels\n{A},{one}\n{B},x;{other}\n"
    said = message(folder, text)
    places = {one: "line 2", other: "line 3"}
    show = ascii if one.startswith("caf") else repr
    first, second = sorted((one, other))
    assert said == (
        f"m.csv must write each class one way, but {show(first)} ({places[first]}) and "
        f"{show(second)} ({places[second]}) differ only in case, spaces or Unicode form; rename "
        "one."
    )


def test_a_repeated_name_counts_once_and_is_noted(folder):
    data = load(folder, f"image,labels\n{A},cat;dog;cat\n{B},dog\n")
    assert data.labels.tolist() == [[1, 1], [0, 1]]
    assert data.notes == ("1 class names that a row repeats count once.",)
    assert load(folder, FULL).notes == ()


def test_backslashes_spaces_and_accents(folder):
    (folder / "a b").mkdir()
    for name in ("a b/M\u00f6we.png", "back\\slash.png"):
        Image.new("RGB", (6, 4)).save(folder / name)
    for listed, there in (
        ("images\\0.png", "images/0.png"),
        ("a b\\M\u00f6we.png", "a b/M\u00f6we.png"),
        ("a b/Mo\u0308we.png", "a b/M\u00f6we.png"),
        ("back\\slash.png", "back\\slash.png"),
    ):
        assert load(folder, f"image,labels\n{listed},x\n").paths == (folder / there,)
    said = message(folder, f"image,labels\n{A},x\nimages\\0.png,y\n")
    assert said == (
        f"m.csv must list each image once, but {A!r} and 'images\\\\0.png' are the same file, "
        f"{folder}/{A}; join them into one row."
    )


def test_absolute_places_of_another_machine(folder):
    text = f"image,labels\nC:\\data\\1.jpg,cat\n/mnt/nas/2.jpg,cat\n{A},cat\n"
    assert message(folder, text) == (
        "m.csv must name images that are there, but has 2 of 3 at absolute places where they are "
        f"not: C:\\data\\1.jpg, /mnt/nas/2.jpg; name them relative to {folder}, or by where they "
        "are on this machine."
    )
