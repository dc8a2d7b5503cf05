import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.data.captions import caption_labels, plural_forms, read_captions, read_synonyms
from ccr_diag.errors import BadData


def named(caption, class_names, synonyms=None):
    """The classes that one caption names."""
    labels = caption_labels([caption], class_names, synonyms)
    return {class_names[c] for c in np.flatnonzero(labels[0])}


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


# The words of a caption


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog and a cat", {"dog", "cat"}),
        ("DOGS!", {"dog"}),
        ("The dog's tail (dog).", {"dog"}),
        ("two hot dogs", {"hot dog"}),
        ("hotdogs", {"hot dog"}),
        ("a hot-dog, a hot_dog and a hot  dog", {"hot dog"}),
        ("a hot dog beside a dog", {"hot dog", "dog"}),
        ("so hot, dogs sleep", {"dog"}),
        ("a dog-like scat in a doghouse", {"dog"}),
        ("dog_1 and cat-2", {"dog", "cat"}),
        ("an underdog with dogged catlike hotdoggers", set()),
        ("a hot\u2011dog and people", {"hot dog", "person"}),
        ("ein Ei", set()),
        ("", set()),
    ],
)
def test_names_are_found_as_whole_words(caption, expected):
    assert named(caption, ["dog", "cat", "hot dog", "person"]) == expected


def test_synonyms_stand_for_their_class_alone():
    synonyms = {"person": ["man", "Woman", "police-officer"], "motorcycle": ["motor bike"]}
    names = ["person", "motorcycle", "bicycle"]
    assert named("a man", names) == set()
    assert named("a man", names, synonyms) == {"person"}
    assert named("WOMEN on a motorbike", names, synonyms) == {"person", "motorcycle"}
    assert named("police officers", names, synonyms) == {"person"}
    assert named("motorbikes, motor-bikes, bikes", names, synonyms) == {"motorcycle"}


@pytest.mark.parametrize(
    "text", ["tennis ball racket", "tennisball racket", "tennis ballracket", "tennisballracket"]
)
def test_every_gap_of_a_name_may_be_closed(text):
    names = ["ball", "tennis_ball_racket"]
    assert named(f"a {text}, two {text}s", names) == {"tennis_ball_racket"}


def test_the_words_of_a_name_are_not_split():
    names = ["carpet", "car door", "therapist", "the door"]
    assert named("a car pet, the rapist, a car do or", names) == set()
    assert named("a cardoor on carpets", names) == {"car door", "carpet"}


def test_a_longer_name_that_does_not_end_gives_way():
    names = ["a b c d", "a b", "c"]
    assert named("ab c", names) == {"a b", "c"}
    assert named("a c", names) == {"c"}
    assert named("a bc", names) == set()
    assert named("ab cd", names) == {"a b c d"}


def test_a_spelling_of_two_classes_is_judged_as_it_is_written():
    names = ["sun glass", "sunglasses"]
    assert named("sunglasses", names) == {"sunglasses"}
    assert named("sun glasses", names) == {"sun glass"}


def test_a_name_may_be_a_whole_sentence():
    sentence = "this is what a class is called by someone who has very much to say about it " * 3
    names = ["dog", sentence]
    assert named(f"A dog: {sentence.replace('a class', 'aclass')}!", names) == set(names)
    assert named("".join(sentence.split()), names) == {sentence}
    assert named(sentence[:-4], names) == set()


def test_of_names_that_begin_together_the_longest_is_taken():
    names = ["traffic", "traffic light", "traffic light pole", "light pole"]
    assert named("a traffic light pole", names) == {"traffic light pole"}
    assert named("traffic lights", names) == {"traffic light"}
    assert named("traffic, light poles", names) == {"traffic", "light pole"}


def test_accents_are_letters_however_they_are_written():
    assert named("zwei mo\u0308wen", ["M\u00f6wen", "mo"]) == {"M\u00f6wen"}


def test_a_plural_that_could_be_another_class_is_not_taken_for_this_one():
    assert named("glasses", ["glass", "glasses"]) == {"glasses"}
    assert named("glasses", ["glasses", "glass"]) == {"glasses"}
    assert named("axes", ["ax", "axe"]) == set()  # the plural of both


def test_rows_and_columns_follow_their_order():
    captions = ["cat", "", "dog cat", "nothing"]
    assert caption_labels(captions, ["dog", "cat"]).tolist() == [[0, 1], [0, 0], [1, 1], [0, 0]]
    labels = caption_labels([], ["dog", "cat"])
    assert (labels.shape, labels.dtype) == ((0, 2), np.int8)


FORMS = {  # of each class, written out by hand
    "dog": ["dog", "dogs"],
    "hot dog": ["hot dog", "hot dogs"],
    "dog house": ["dog house", "dog houses"],
    "person": ["person", "people", "persons", "man", "men"],
    "hot": ["hot", "hots"],
}


def slow_names(caption):
    """The classes of ``FORMS`` in a caption, by one pattern on its text."""
    class_of = {form: name for name, forms in FORMS.items() for form in forms}
    longest_first = sorted(class_of, key=lambda form: (-len(form.split()), -len(form)))
    gap = "[ _-]*"
    pattern = "|".join(f"({form.replace(' ', gap)})" for form in longest_first)
    found = re.finditer(f"(?<![a-z])(?:{pattern})(?![a-z])", caption.lower())
    return {class_of[longest_first[match.lastindex - 1]] for match in found}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["hot", "hots", "dog", "Dogs", "house", "houses", "men", "people", "a"]
            ),
            st.sampled_from([" ", " ", "-", "_", ", ", "", "'"]),
        ),
        max_size=8,
    )
)
def test_labels_match_one_pattern_on_the_text(parts):
    caption = "".join(word + gap for word, gap in parts)
    assert named(caption, list(FORMS), {"person": ["man"]}) == slow_names(caption)


@pytest.mark.parametrize(
    ("names", "synonyms", "message"),
    [
        (
            ["cup", "glass"],
            {"cup": ["Glass"]},
            "A word must name one class, but 'glass' names 'cup' and 'glass'; take it from one of "
            "them.",
        ),
        (
            ["motorbike", "bike"],
            {"bike": ["cycle", "motor bike"]},
            "A word must name one class, but 'motor bike' names 'motorbike' and 'bike'; take it "
            "from one of them.",
        ),
        (["dog", "_"], {}, "A name or synonym must hold a word, but '_' holds none."),
    ],
)
def test_words_that_cannot_be_told_apart(names, synonyms, message):
    with pytest.raises(BadData) as error:
        caption_labels(["a dog"], names, synonyms)
    assert str(error.value) == message


def test_a_word_given_twice_to_one_class_is_harmless():
    assert named("motorbike", ["motor bike"], {"motor bike": ["motorbike", "Motor_Bike"]}) == {
        "motor bike"
    }


@pytest.mark.parametrize(
    ("word", "plurals"),
    [
        ("dog", "dogs"),
        ("bus", "buses busses"),
        ("box", "boxes"),
        ("bench", "benches"),
        ("brush", "brushes"),
        ("stomach", "stomachs"),
        ("quiz", "quizzes"),
        ("berry", "berries"),
        ("key", "keys"),
        ("photo", "photos photoes"),
        ("kangaroo", "kangaroos"),
        ("giraffe", "giraffes"),
        ("roof", "roofs"),
        ("person", "people persons"),
        ("man", "men"),
        ("policewoman", "policewomen"),
        ("snowman", "snowmen"),
        ("human", "humans"),
        ("grandchild", "grandchildren"),
        ("dormouse", "dormice"),
        ("goose", "geese"),
        ("mongoose", "mongooses"),
        ("tooth", "teeth"),
        ("foot", "feet"),
        ("penknife", "penknives"),
        ("bookshelf", "bookshelves"),
        ("leaf", "leaves"),
        ("scarf", "scarves scarfs"),
        ("sheep", "sheep"),
        ("reindeer", "reindeer"),
        ("goldfish", "goldfish goldfishes"),
        ("aircraft", "aircraft aircrafts"),
        ("ox", "oxen"),
        ("fox", "foxes"),
        ("elf", "elves"),
        ("blouse", "blouses"),
    ],
)
def test_plurals(word, plurals):
    assert plural_forms(word) == tuple(plurals.split())


# Files of captions


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "a dog\n\n  two \u2028 cats \r\nthe\tend"),
        ("c.csv", 'id,caption\n1,a dog\n2,\n3,"two\n cats"\n4\n5, the end\n'),
        (
            "c.json",
            json.dumps(
                {
                    "annotations": [
                        {"image_id": 9, "id": 5, "caption": "a dog\n"},
                        {"image_id": 2, "id": 1, "caption": "two  cats"},
                        {"image_id": 9, "id": 2, "caption": "not the first of its image"},
                        {"image_id": "7", "id": 3, "caption": ""},
                        {"image_id": 7, "id": 4, "caption": "the end"},
                    ]
                }
            ),
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_captions_are_read_in_order_without_breaks(tmp_path, name, text, encoding, case):
    path = write(tmp_path, case(name), text, encoding)
    assert read_captions(path) == ("a dog", "two cats", "the end")


def test_what_utf8_cannot_hold_is_replaced(tmp_path):
    captions = ["a \ud83d dog", "\U0001f415", "\udc15"]
    annotations = [{"image_id": i, "caption": caption} for i, caption in enumerate(captions)]
    path = write(tmp_path, "c.json", json.dumps({"annotations": annotations}))
    assert read_captions(path) == ("a ? dog", "\U0001f415", "?")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000], ids=["nested", "digits"])
def test_json_beyond_what_python_reads(tmp_path, text):
    path = write(tmp_path, "c.json", text)
    start = f"A .json file of captions must be JSON, but {path} is none ("
    with pytest.raises(BadData, match=f"^{re.escape(start)}.+; get it anew.$"):
        read_captions(path)


COCO = (
    "A .json file of captions must be COCO's, whose 'annotations' each have an 'image_id' and a "
    "'caption', but PATH is none; is it the file of instances?"
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "c.xml",
            "",
            "Captions must come as a file that ends in .txt, .csv, .json, but got PATH; write one "
            "caption a line in a .txt file.",
        ),
        ("c.txt", " \n", "A file of captions must hold at least one, but PATH holds none."),
        ("c.csv", "", "PATH needs a column 'caption', but its header is empty."),
        ("c.csv", "a,b\n", "PATH needs a column 'caption', but its header is a, b."),
        (
            "c.csv",
            'caption\n"a',
            "A .csv file of captions must be comma-separated values, but PATH: unexpected end of "
            "data.",
        ),
        (
            "c.json",
            "{",
            "A .json file of captions must be JSON, but PATH is none (Expecting property name "
            "enclosed in double quotes: line 1 column 2 (char 1)); get it anew.",
        ),
        ("c.json", "[]", COCO),
        ("c.json", '{"images": []}', COCO),
        ("c.json", '{"annotations": 3}', COCO),
        ("c.json", '{"annotations": [{"image_id": 1, "category_id": 2}]}', COCO),
        ("c.json", '{"annotations": [{"image_id": 1, "caption": null}]}', COCO),
        ("c.json", '{"annotations": [{"image_id": [], "caption": "a"}]}', COCO),
    ],
)
def test_bad_files_of_captions(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(BadData) as error:
        read_captions(path)
    assert str(error.value).replace(str(path), "PATH") == message


@pytest.mark.parametrize("name", ["c.txt", "c.csv", "c.json"])
def test_files_that_cannot_be_read(tmp_path, name):
    with pytest.raises(BadData) as error:
        read_captions(tmp_path / name)
    assert str(error.value) == (
        f"Captions must come as a readable file, but {tmp_path / name}: No such file or directory."
    )
    path = write(tmp_path, name, "caption\nMöwe\n", "latin-1")
    with pytest.raises(BadData) as error:
        read_captions(path)
    assert str(error.value) == (
        f"Captions must come as UTF-8 text, but {path} is not; save it as UTF-8."
    )


# Files of synonyms


NAMES = ("person", "traffic_light", "dog")


def test_synonyms_are_read_by_class(tmp_path):
    path = write(tmp_path, "s.txt", "# mine\n\nTraffic Light: stop light , signal\nperson:man\n")
    assert read_synonyms(path, NAMES) == {
        "traffic_light": ("stop light", "signal"),
        "person": ("man",),
    }


def test_a_synonym_may_repeat_its_own_class(tmp_path):
    path = write(tmp_path, "s.txt", "traffic light: trafficlight, Stop light, stop-light\n")
    assert read_synonyms(path, NAMES) == {
        "traffic_light": ("trafficlight", "Stop light", "stop-light")
    }


def test_a_name_may_hold_a_colon(tmp_path):
    path = write(tmp_path, "s.txt", "sign: stop: halt\n")
    assert read_synonyms(path, ["sign: stop"]) == {"sign: stop": ("halt",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dog: puppy\n\npersn: man\n",
            "PATH line 3 must begin with a class, but 'persn' is none; did you mean 'person'?",
        ),
        (
            "dog: Traffic-Light",
            "PATH line 1 must give 'dog' words of its own, but 'Traffic-Light' names "
            "'traffic_light'; take it from one of them.",
        ),
        (
            "person: dogwalker\n\ndog: puppy, dog-walker\n",
            "PATH line 3 must give 'dog' words of its own, but 'dog-walker' names 'person'; take "
            "it from one of them.",
        ),
        ("dog: a\nDog: b\n", "PATH line 2 repeats the class 'Dog'; join its words into one line."),
        *(
            (
                line,
                "PATH line 1 must be a class, a colon and words between commas, as in 'person: "
                f"man, woman', but is {line!r}.",
            )
            for line in ("dog", "dog:", ": puppy", "dog: puppy,", "dog: puppy,,whelp", "dog: _")
        ),
    ],
)
def test_bad_synonyms(tmp_path, text, message):
    path = write(tmp_path, "s.txt", text)
    with pytest.raises(BadData) as error:
        read_synonyms(path, NAMES)
    assert str(error.value).replace(str(path), "PATH") == message


def test_synonyms_that_cannot_be_read(tmp_path):
    with pytest.raises(BadData) as error:
        read_synonyms(tmp_path / "s.txt", NAMES)
    assert str(error.value) == (
        f"Synonyms must come as a readable file, but {tmp_path / 's.txt'}: No such file or "
        "directory."
    )
