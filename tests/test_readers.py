"""Anybody's predictions: every format gives the same record, and nothing broken comes in."""

import contextlib
import csv
import io
import itertools
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ccr_diag.alignment import align
from ccr_diag.arrays import ProbabilityMap
from ccr_diag.errors import BadConfig, BadPredictions, CcrDiagError, MissingExtra
from ccr_diag.predictions import Predictions
from ccr_diag.readers import read_predictions

P = np.array([[0.0, 0.25], [1.0, 0.5], [0.75, 0.125]])
Y = np.array([[1, 0], [-1, 1], [0, 0]], dtype=np.int8)
NAMES, IDS = ("dog", "Zürich, 🐱"), ("b", "a", "c")


def write_npz(path, save=np.savez, **arrays):
    content = {"labels": Y, "class_names": np.array(NAMES), "image_ids": np.array(IDS)} | arrays
    if not {"probs", "logits", "scores"} & set(arrays):
        content["probs"] = P
    save(path, **{key: array for key, array in content.items() if array is not None})
    return path


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def pairs(values=P, labels=Y):
    """Rows of a long table."""
    return [
        (image, name, repr(float(v)), int(y))
        for image, vs, ys in zip(IDS, values, labels, strict=True)
        for name, v, y in zip(NAMES, vs, ys, strict=True)
    ]


def write_wide(path, values=P, labels=Y, column="probs", ids=True, names=NAMES, **options):
    columns = {column: values if isinstance(values, pa.Array) else values.tolist()}
    columns["labels"] = labels.tolist() if isinstance(labels, np.ndarray) else labels
    table = pa.table(columns | ({"image": list(IDS)} if ids else {}))
    if names:
        table = table.replace_schema_metadata({"class_names": json.dumps(names)})
    pq.write_table(table, path, **options)
    return path


def write_long(path, rows, value="prob", **options):
    columns = zip(*rows, strict=True)
    named = dict(zip(("image", "class", value, "label"), map(list, columns), strict=True))
    named[value] = [float(v) for v in named[value]]
    pq.write_table(pa.table(named), path, **options)
    return path


def matrices(folder):
    """Every format, holding the same."""
    np.save(folder / "p.npy", P)
    np.save(folder / "y.npy", Y)
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    wide = [("image", *NAMES), *((i, *row) for i, row in zip(IDS, P.tolist(), strict=True))]
    label = [("image", *NAMES[::-1])]
    label += [(i, *row[::-1]) for i, row in zip(IDS, Y.tolist(), strict=True)][::-1]
    header = ("image", "class", "prob", "label")
    named = {"class_names": folder / "names.txt"}
    return {
        "npz": (write_npz(folder / "a.npz"), {}),
        "npz without a suffix": (write_npz(folder / "d.npz").rename(folder / "plain"), {}),
        "compressed": (write_npz(folder / "b.npz", np.savez_compressed), {}),
        "npz and labels": (
            write_npz(folder / "c.npz", labels=None),
            {"labels": folder / "y.npy"},
        ),
        "npy": (folder / "p.npy", {"kind": "probs", "labels": folder / "y.npy"} | named),
        "wide csv": (
            write_csv(folder / "w.csv", wide),
            {"kind": "probs", "labels": write_csv(folder / "wy.csv", label)},
        ),
        "long csv": (write_csv(folder / "l.csv", [header, *pairs()]), {}),
        "wide parquet": (write_wide(folder / "w.parquet", row_group_size=2), {}),
        "fixed lists": (
            write_wide(
                folder / "f.parquet", pa.FixedSizeListArray.from_arrays(P.ravel(), 2), names=None
            ),
            named,
        ),
        "long parquet": (write_long(folder / "l.pq", pairs(), row_group_size=3), {}),
        "shuffled pairs": (write_long(folder / "s.pq", pairs()[::-1]), named),
        "own": (own(folder / "own.npz"), {}),
    }


def own(path, **changes):
    fields = {
        "values": P,
        "labels": Y,
        "class_names": NAMES,
        "groups": (),
        "map": None,
        "image_ids": IDS,
        "provenance": {"model": "m"},
        "kind": "probs",
    }
    Predictions(**fields | changes).save(path)
    return path


FORMATS = (
    "npz",
    "npz without a suffix",
    "compressed",
    "npz and labels",
    "npy",
    "wide csv",
    "long csv",
    "wide parquet",
    "fixed lists",
    "long parquet",
    "shuffled pairs",
    "own",
)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(tmp_path, name, mmap):
    path, options = matrices(tmp_path)[name]
    found = read_predictions(path, mmap=mmap, **options)
    ids = found.image_ids or IDS
    rows = [ids.index(i) for i in IDS]
    np.testing.assert_array_equal(found.values[rows], P, strict=True)
    np.testing.assert_array_equal(found.labels[rows], Y, strict=True)
    assert found.class_names == NAMES
    assert (found.kind, found.map, found.groups) == ("probs", None, ())
    assert found.provenance["model"] in (path.stem, "m")
    assert bool(found.image_ids) == (name != "npy")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_number_types_are_kept(tmp_path, dtype):
    p = P.astype(dtype)
    for path in (
        write_npz(tmp_path / "a.npz", probs=p),
        write_wide(tmp_path / "a.parquet", pa.array(list(p))),
    ):
        assert read_predictions(path).values.dtype == dtype


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, ">i4"])
def test_labels_of_any_number_type_become_int8(tmp_path, dtype):
    labels = (Y == 1).astype(dtype)
    found = read_predictions(write_npz(tmp_path / "a.npz", labels=labels))
    np.testing.assert_array_equal(found.labels, (Y == 1).astype(np.int8), strict=True)
    assert isinstance(found.labels.base, np.memmap) == (np.dtype(dtype).itemsize == 1)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.floats(0, 1, width=32),
    ),
    st.sampled_from("CF"),
    st.integers(0, 9),
)
def test_a_mapped_member_is_the_array_that_was_saved(tmp_path_factory, p, order, shift):
    path = tmp_path_factory.mktemp("mapped") / "a.npz"
    p = np.array(p, order=order)
    np.savez(path, **{"x" * shift + "_": np.ones(1)}, probs=p, labels=np.zeros(p.shape, np.int8))
    found = read_predictions(path)
    np.testing.assert_array_equal(found.values, p, strict=True)
    np.testing.assert_array_equal(found.probability_source[:], p, strict=True)


def test_stored_arrays_are_mapped_and_compressed_ones_read(tmp_path):
    stored = read_predictions(write_npz(tmp_path / "a.npz"))
    assert isinstance(stored.values, np.memmap)
    assert isinstance(stored.labels, np.memmap)
    for path, mmap in (
        (tmp_path / "a.npz", False),
        (write_npz(tmp_path / "b.npz", np.savez_compressed), True),
    ):
        assert not isinstance(read_predictions(path, mmap=mmap).values, np.memmap)


def test_classes_without_names_are_numbered(tmp_path):
    assert read_predictions(write_npz(tmp_path / "a.npz", class_names=None)).class_names == (
        "0",
        "1",
    )


def test_optional_arrays_come_along(tmp_path):
    path = write_npz(
        tmp_path / "a.npz",
        groups=np.array(["head", "tail"]),
        class_counts=np.array([120, 3]),
        proximity=np.array([0.5, 0.25, 0.125]),
    )
    found = read_predictions(path)
    assert found.groups == ("head", "tail")
    assert found.class_counts.tolist() == [120, 3]
    assert found.proximity.tolist() == [0.5, 0.25, 0.125]
    table = write_csv(tmp_path / "g.csv", [("group", "class"), ("new", NAMES[1]), ("head", "dog")])
    assert read_predictions(path, groups=table).groups == ("head", "new")
    assert read_predictions(own(tmp_path / "own.npz"), groups=table).groups == ("head", "new")


# What the numbers are


def test_logits_have_a_scale_of_1_unless_stated(tmp_path):
    path = write_npz(tmp_path / "a.npz", logits=4 * P)
    assert read_predictions(path).map == ProbabilityMap(1.0, 0.0, "given")
    assert read_predictions(path, scale=2.0, bias=-1.0).map == ProbabilityMap(2.0, -1.0, "given")
    np.testing.assert_allclose(read_predictions(path).probabilities, 1 / (1 + np.exp(-4 * P)))


def test_scores_need_their_map(tmp_path):
    path = write_npz(tmp_path / "a.npz", scores=P)
    for half in ({}, {"scale": 10.0}, {"bias": 0.0}):
        with pytest.raises(BadConfig, match="add --scale and --bias"):
            read_predictions(path, **half)
    found = read_predictions(path, scale=10.0, bias=-3.0)
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(3 - 10 * P)))


def test_the_array_names_the_kind_and_the_user_cannot_contradict_it(tmp_path):
    path = write_npz(tmp_path / "a.npz", logits=P)
    with pytest.raises(BadConfig, match="holds logits, but --probs was declared"):
        read_predictions(path, kind="probs")
    assert read_predictions(path, kind="logits").kind == "logits"
    both = write_npz(tmp_path / "b.npz", probs=P, logits=9 * P)
    with pytest.raises(BadConfig, match="holds .* and .*; say which to read by --scores"):
        read_predictions(both)
    assert read_predictions(both, kind="probs").values.max() == 1
    assert read_predictions(both, kind="logits").values.max() == 9
    with pytest.raises(BadConfig, match="holds probs, but --logits was declared"):
        read_predictions(own(tmp_path / "own.npz"), kind="logits")
    with pytest.raises(BadConfig, match="must be one of scores, logits, probs, but got 'odds'"):
        read_predictions(path, kind="odds")


def test_probabilities_take_no_map(tmp_path):
    for path in (write_npz(tmp_path / "a.npz"), own(tmp_path / "own.npz")):
        with pytest.raises(BadConfig, match="needs scores or logits"):
            read_predictions(path, scale=2.0)


def test_our_scores_can_be_read_through_another_map(tmp_path):
    scores = {
        "values": P.astype(np.float32),
        "kind": "scores",
        "map": ProbabilityMap(9.0, -2.0, "prior"),
    }
    path = own(tmp_path / "own.npz", **scores)
    assert read_predictions(path).map == scores["map"]
    assert read_predictions(path, bias=1.0).map == ProbabilityMap(9.0, 1.0, "given")


def test_a_column_called_score_may_be_anything_so_it_must_be_declared(tmp_path):
    rows = [("image", "class", "score", "label"), *pairs()]
    for path in (
        write_csv(tmp_path / "l.csv", rows),
        write_long(tmp_path / "l.pq", pairs(), "score"),
    ):
        with pytest.raises(BadConfig, match="does not say it; add --scores"):
            read_predictions(path)
        assert read_predictions(path, kind="probs").kind == "probs"
        assert read_predictions(path, kind="logits").kind == "logits"


@pytest.mark.parametrize("name", ["npy", "wide csv"])
def test_nothing_is_guessed_where_nothing_is_declared(tmp_path, name):
    path, options = matrices(tmp_path)[name]
    with pytest.raises(BadConfig, match="must be declared"):
        read_predictions(path, **options | {"kind": None})
    with pytest.raises(BadConfig, match="holds values alone; name the file of their labels"):
        read_predictions(path, **options | {"labels": None})


@pytest.mark.parametrize("name", ["npz", "long csv", "long parquet", "wide parquet", "own"])
def test_what_a_file_says_is_not_declared_twice(tmp_path, name):
    path, _ = matrices(tmp_path)[name]
    with pytest.raises(BadConfig, match="leave --labels out"):
        read_predictions(path, labels=tmp_path / "y.npy")
    if not name.startswith("long"):
        with pytest.raises(BadConfig, match="leave --class-names out"):
            read_predictions(path, class_names=tmp_path / "names.txt")


# What is missing


def tables(folder, rows):
    header = ("image", "class", "prob", "label")
    return write_csv(folder / "t.csv", [header, *rows]), write_long(folder / "t.pq", rows)


def test_pairs_that_are_not_listed_are_unknown_only_if_declared(tmp_path):
    rows = [pairs()[i] for i in (0, 1, 3, 5, 4)]
    for path in tables(tmp_path, rows):
        with pytest.raises(BadPredictions, match="3 images × 2 classes needs a row.*but 5 came"):
            read_predictions(path)
        found = read_predictions(path, unlisted="unknown")
        assert found.labels.tolist() == [[1, 0], [-1, 1], [0, 0]]
        assert found.values.tolist() == [[0, 0.25], [0, 0.5], [0.75, 0.125]]
    with pytest.raises(BadConfig, match="only be declared 'unknown', but got 'absent'"):
        read_predictions(path, unlisted="absent")


def test_what_is_not_listed_outranks_nothing(tmp_path):
    rows = [(i, c, float(v) - 5, y) for i, c, v, y in pairs()[1:]]
    path = write_long(tmp_path / "l.pq", rows, "logit")
    found = read_predictions(path, unlisted="unknown")
    place = found.image_ids.index("b"), found.class_names.index("dog")
    assert found.values[place] == found.values.min() == -4.875


def test_empty_labels_are_unknown_only_if_declared(tmp_path):
    rows = pairs()
    rows[2] = (*rows[2][:3], None)
    for path in tables(tmp_path, rows):
        with pytest.raises(BadPredictions, match="image 'a', class 'dog' is empty; fill it in"):
            read_predictions(path)
        np.testing.assert_array_equal(read_predictions(path, unlisted="unknown").labels, Y)
    holes = np.where(Y == -1, np.nan, Y)
    gaps = [[None if np.isnan(y) else y for y in row] for row in holes]
    for path in (
        write_npz(tmp_path / "a.npz", labels=holes),
        write_wide(tmp_path / "w.pq", labels=gaps),
    ):
        with pytest.raises(BadPredictions, match=r"row 1, class 'dog': nan"):
            read_predictions(path)
        np.testing.assert_array_equal(read_predictions(path, unlisted="unknown").labels, Y)


def test_a_pair_comes_once(tmp_path):
    rows = [*pairs(), pairs()[3]]
    for path in tables(tmp_path, rows):
        with pytest.raises(BadPredictions, match="image 'a', class 'Zürich, 🐱' comes twice"):
            read_predictions(path)


def test_pairs_are_the_same_however_they_are_cut(tmp_path, monkeypatch):
    whole = [read_predictions(path) for path in tables(tmp_path, pairs()[::-1])]
    for module in ("csv_tables", "parquet"):
        monkeypatch.setattr(f"ccr_diag.readers.{module}.ROWS", 1)
    for found, one in zip(
        map(read_predictions, tables(tmp_path, pairs()[::-1])), whole, strict=True
    ):
        np.testing.assert_array_equal(found.values, one.values)
        assert found.image_ids == one.image_ids == IDS[::-1]
    again = [*pairs(), pairs()[3]]
    for path in tables(tmp_path, again):
        with pytest.raises(BadPredictions, match="comes twice"):
            read_predictions(path)


def test_wide_tables_are_read_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("ccr_diag.readers.parquet.ENTRIES", 2)
    found = read_predictions(write_wide(tmp_path / "w.parquet"))
    np.testing.assert_array_equal(found.values, P)
    np.testing.assert_array_equal(found.labels, Y)
    assert found.image_ids == IDS


# Bad input


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"probs": P[:2]},
            r"Labels must have the shape \(2, 2\) of the probabilities, but got \(3",
        ),
        ({"probs": P[0], "labels": Y[0]}, r"must have shape \(images, classes\)"),
        ({"probs": P[:0], "labels": Y[:0]}, r"neither 0, but got \(0, 2\)"),
        ({"probs": np.array(0.5), "labels": np.array(1)}, r"must have shape \(images, classes\)"),
        ({"probs": 6 * P - 3}, r"5 do not.* span \[-3, 3\]; if they are logits, declare --logits"),
        ({"probs": P - 0.5}, "they look like cosines: declare --scores"),
        ({"probs": np.where(P == 1, np.nan, P)}, r"1 are NaN .* at row 1 \('a'\), class 'dog'"),
        ({"probs": np.where(P == 1, np.inf, P)}, "1 are NaN or infinite"),
        ({"labels": 2 * Y}, r"3 are not, the first at row 0, class 'dog': 2; recode them"),
        ({"labels": np.full((3, 2), 255, np.uint8)}, "6 are not, .*: 255; recode"),
        ({"probs": Y.astype(float), "labels": P}, "the two seem swapped"),
        ({"probs": Y, "labels": P}, "the two seem swapped"),
        ({"probs": P.astype(np.longdouble)}, "Probabilities must be floating-point .*float64"),
        ({"probs": Y}, "Probabilities must be floating-point .*, but got int8"),
        ({"probs": np.full((3, 2), "1")}, "Probabilities must be floating-point .*, but got <U1"),
        ({"labels": np.full((3, 2), "1")}, "Labels must be numbers, but got <U1"),
        ({"labels": None}, "lacks labels; add that array, or name a file by --labels"),
        ({"labels": np.full((3, 2), -1)}, "At least one label must be known, but all 6 are -1"),
        ({"class_names": np.array(NAMES[:1])}, "need 2 class_names, but 1 came"),
        (
            {"class_names": np.array(["x", "x"])},
            "Class names must be unique, but 'x' comes 2 times",
        ),
        ({"class_names": np.array(NAMES, object)}, "holds pickled objects .*; write it with numpy"),
        ({"probs": P.astype(object)}, "holds pickled objects"),
        ({"image_ids": np.array(["a", "b"])}, "need 3 image_ids, but 2 came"),
        ({"image_ids": np.array([1, 2, 3])}, "image_ids must be a text array of one axis"),
        ({"groups": np.array(["head", "novel"])}, "Each group must be one of"),
        ({"class_counts": np.array([0.5, 1])}, "class_counts must be whole numbers along one axis"),
        ({"proximity": np.array([1, 2, 3])}, "proximity must be floating-point numbers along"),
        ({"probs": np.zeros((3, 2), "f4,f4")}, "Probabilities must be floating-point"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_broken_archive_is_refused_by_name(tmp_path, save, arrays, message):
    path = write_npz(tmp_path / "a.npz", save, **arrays)
    with pytest.raises(BadPredictions, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_an_archive_without_values_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", p=P, labels=Y)
    with pytest.raises(
        BadPredictions, match="must hold one of scores, logits, probs, but holds p, l"
    ):
        read_predictions(tmp_path / "a.npz")


class Trap:
    """Unpickling this would leave a mark."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".pth", ".pickle", ".joblib", ".PT"])
def test_pickles_are_refused_unopened_with_the_way_out(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadPredictions, match=r"never opened; .* write numpy\.savez\(FILE, probs="):
        read_predictions(path)


def test_pickled_arrays_are_refused_unopened(tmp_path):
    trap = np.array([[Trap()]], dtype=object)
    path = write_npz(tmp_path / "a.npz", probs=trap)
    np.save(tmp_path / "y.npy", trap)
    np.save(tmp_path / "p.npy", P)
    for options in (
        {"path": path},
        {"path": tmp_path / "p.npy", "labels": tmp_path / "y.npy", "kind": "probs"},
    ):
        with pytest.raises(BadPredictions, match="holds pickled objects"):
            read_predictions(**options)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv", ".parquet", ".txt", ""])
def test_an_empty_file_and_no_file_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(BadPredictions, match="There is no predictions file at"):
        read_predictions(path, kind="probs")
    path.touch()
    with pytest.raises(BadPredictions, match="is empty; write it again"):
        read_predictions(path, kind="probs")


def test_an_unknown_format_is_refused(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(BadPredictions, match=r"must be \.npz, \.npy, \.parquet or \.csv, but got"):
        read_predictions(tmp_path / "a.xlsx")


@pytest.mark.parametrize("name", ["npz", "compressed", "npy", "wide parquet", "long parquet"])
def test_a_truncated_file_is_refused(tmp_path, name):
    path, options = matrices(tmp_path)[name]
    whole = path.read_bytes()
    for length in range(1, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadPredictions):
            read_predictions(path, **options)


@pytest.mark.parametrize("name", ["npz", "compressed", "npy", "wide parquet", "long csv"])
def test_a_flipped_byte_is_refused_or_read_and_never_crashes(tmp_path, name):
    path, options = matrices(tmp_path)[name]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 80):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(CcrDiagError):
            read_predictions(path, **options)


@pytest.mark.parametrize("key", ["probs", "labels"])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path, key, mmap):
    path = write_npz(tmp_path / "a.npz")
    whole = path.read_bytes()
    place = whole.index({"probs": P, "labels": Y}[key].tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(BadPredictions, match=f"{key} in .* is damaged"):
        read_predictions(path, mmap=mmap)


def claim(shape, descr="<f8"):
    """A .npy file of 48 bytes that claims another shape."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + P.tobytes()


@pytest.mark.parametrize(
    "shape", [(2**28, 1), (2**62, 2**62), (-1, 2), (2, 2), (3, 3)], ids=lambda s: f"{s[0]}x{s[1]}"
)
def test_a_false_claim_costs_no_memory(tmp_path, shape):
    resource = pytest.importorskip("resource")
    (tmp_path / "p.npy").write_bytes(claim(shape))
    np.save(tmp_path / "y.npy", Y)
    files = [(tmp_path / "p.npy", {"kind": "probs", "labels": tmp_path / "y.npy"})]
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_npz(tmp_path / f"{how}.npz", probs=None)
        with zipfile.ZipFile(path, "a", how) as archive:
            archive.writestr("probs.npy", claim(shape))
        files.append((path, {}))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, limits[1]))
    try:
        for path, options in files:
            for mmap in (True, False):
                with pytest.raises(BadPredictions, match="claims .* bytes where|its shape is"):
                    read_predictions(path, mmap=mmap, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_false_size_in_the_directory_costs_no_memory(tmp_path, how):
    path = write_npz(tmp_path / "a.npz", probs=None)
    with zipfile.ZipFile(path, "a", how) as archive:
        archive.writestr("probs.npy", claim((2**27, 2)))
    whole = bytearray(path.read_bytes())
    entry = whole.rindex(b"PK\1\2")
    claimed = len(claim((2**27, 2))) - P.nbytes + 2**31
    struct.pack_into("<I", whole, entry + 24, claimed)
    path.write_bytes(whole)
    with pytest.raises(BadPredictions, match="claims .* bytes where there are"):
        read_predictions(path)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("mmap", [True, False])
def test_the_check_sum_is_compared(tmp_path, how, mmap):
    path = write_npz(tmp_path / "a.npz", probs=None)
    with zipfile.ZipFile(path, "a", how) as archive:
        archive.writestr("probs.npy", claim((3, 2)))
    assert read_predictions(path, mmap=mmap).values.tolist() == P.tolist()
    whole = bytearray(path.read_bytes())
    whole[whole.rindex(b"PK\1\2") + 16] ^= 1
    path.write_bytes(whole)
    with pytest.raises(BadPredictions, match="probs in .* is damaged .*(sum|CRC)"):
        read_predictions(path, mmap=mmap)


def test_objects_are_refused_even_where_the_sizes_agree(tmp_path):
    (tmp_path / "p.npy").write_bytes(claim((3, 2), "|O"))
    np.save(tmp_path / "y.npy", Y)
    with pytest.raises(BadPredictions, match="its elements are Python objects"):
        read_predictions(tmp_path / "p.npy", kind="probs", labels=tmp_path / "y.npy")


def test_a_parquet_file_that_ends_early_is_refused(tmp_path, monkeypatch):
    path, iter_batches = write_wide(tmp_path / "a.parquet"), pq.ParquetFile.iter_batches
    monkeypatch.setattr("ccr_diag.readers.parquet.ENTRIES", 2)
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda *a, **k: itertools.islice(iter_batches(*a, **k), 2)
    )
    with pytest.raises(BadPredictions, match="must have 3 rows, but ends after 2"):
        read_predictions(path)


def test_a_format_from_the_future_is_refused(tmp_path):
    np.save(tmp_path / "p.npy", P)
    whole = bytearray((tmp_path / "p.npy").read_bytes())
    whole[6] = 9
    (tmp_path / "p.npy").write_bytes(whole)
    with pytest.raises(BadPredictions, match=r"format version|version"):
        read_predictions(tmp_path / "p.npy", kind="probs", labels=tmp_path / "p.npy")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("image", "class", "label"), ("a", "x", 1)], "must hold one of prob, probs, logit"),
        ([("image", "class", "prob", "label")], "must have rows below its header"),
        ([("image", "class", "prob", "label"), ("a", "x", 1)], "line 2 must have 4 cells"),
        (
            [("image", "class", "prob", "label"), ("a", "x", "?", 1)],
            "prob must be a number, but got '?'",
        ),
        (
            [("image", "class", "prob", "label"), ("a", "x", "", 1)],
            "prob must be a number, but got ''",
        ),
        ([("image", "class", "prob", "label"), ("a", "x", 0.5, "yes")], "label must be a number"),
        ([("image", "class", "prob", "label"), ("a", "x", 0.5, 2)], "class 'x' is 2; recode"),
        ([("image", "class", "prob", "label"), ("a", "x", "nan", 1)], "1 are NaN"),
        ([("image", "class", "prob", "label"), ("a", "x", "7", 1)], "declare --logits"),
        ([("file", "x"), ("a", 0.5)], "must have the columns image,class,label and a value"),
    ],
)
def test_a_broken_table_is_refused_by_name(tmp_path, rows, message):
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(BadPredictions, match=message.replace("?", r"\?")) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b'image,"x', b"image,class,prob,label\na,\xff,1,1\n"]
)
def test_a_table_that_is_no_text_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(BadPredictions, match="must be a UTF-8 CSV file"):
        read_predictions(tmp_path / "a.csv", kind="probs")


def test_wide_tables_must_belong_together(tmp_path):
    values = write_csv(tmp_path / "p.csv", [("image", "x", "y"), ("a", 0.5, 0.5), ("b", 0, 1)])

    def read(*rows):
        labels = write_csv(tmp_path / "y.csv", rows)
        return read_predictions(values, kind="probs", labels=labels)

    for message, *rows in (
        ("each class once .* 'y' is in one alone", ("image", "x", "z"), ("a", 1, 0), ("b", 1, 0)),
        ("each image once .* 'b' is in one alone", ("image", "x", "y"), ("a", 1, 0)),
        (
            "each image once .* 'a' comes twice",
            ("image", "x", "y"),
            ("a", 1, 0),
            ("a", 1, 0),
            ("b", 1, 1),
        ),
        ("must begin with the column image", ("x", "y"), (1, 0)),
        ("must have rows below its header", ("image", "x", "y")),
        (r"class 'x': nan; recode", ("image", "x", "y"), ("a", "", 0), ("b", 1, 0)),
    ):
        with pytest.raises(BadPredictions, match=message):
            read(*rows)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"probs": [[0.5, 0.5], [0.5]], "labels": [[1, 0], [0, 1]]}, "2 numbers in every row"),
        (
            {"probs": [[0.5, 0.5], [0.5], [0, 0, 0]], "labels": [[1, 0]] * 3},
            "2 numbers in every row",
        ),
        ({"probs": [[0.5, 0.5], None], "labels": [[1, 0], [0, 1]]}, "2 numbers in every row"),
        ({"probs": [None, [0.5]], "labels": [[1], [0]]}, "must be a list of numbers in every row"),
        ({"probs": [0.5, 0.5], "labels": [1, 0]}, "must be a list of numbers in every row"),
        ({"probs": [[0.5, None]], "labels": [[1, 0]]}, "1 are NaN"),
        ({"probs": [["x"]], "labels": [[1]]}, "probs must be numbers, but got string"),
        ({"probs": [[0.5]], "labels": [["x"]]}, "labels must be numbers, but got string"),
        ({"probs": [[0.5]]}, "but lacks labels; it has probs"),
        ({"p": [[0.5]], "labels": [[1]]}, "must hold one of scores, logits, probs, but holds p"),
        ({"probs": [], "labels": []}, "must have rows, but has none"),
        ({"image": ["a"], "class": ["x"], "prob": [0.5]}, "but lacks label"),
        ({"image": [None], "class": ["x"], "prob": [0.5], "label": [1]}, "row must name its image"),
    ],
)
def test_a_broken_parquet_file_is_refused_by_name(tmp_path, columns, message):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(BadPredictions, match=message):
        read_predictions(path)


def test_parquet_metadata_must_be_a_list_of_names(tmp_path):
    table = pa.table({"probs": [[0.5]], "labels": [[1]]})
    for text, message in (("{", "must be JSON"), ("[1]", "must be a JSON list of text")):
        pq.write_table(table.replace_schema_metadata({"class_names": text}), tmp_path / "a.parquet")
        with pytest.raises(BadPredictions, match=message):
            read_predictions(tmp_path / "a.parquet")


def test_numbered_images_and_coded_names_are_fine(tmp_path):
    columns = {
        "image": [7, 7, 9, 9],
        "class": pa.array(["x", "y", "x", "y"]).dictionary_encode(),
        "logits": np.arange(4, dtype=np.float32),
        "label": [1, 0, 0, 1],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = read_predictions(tmp_path / "a.parquet")
    assert found.image_ids == ("7", "9")
    assert found.class_names == ("x", "y")
    np.testing.assert_array_equal(found.values, [[0, 1], [2, 3]])
    assert found.values.dtype == np.float32


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = write_wide(tmp_path / "a.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r'pip install "ccr-diag\[parquet\]"'):
        read_predictions(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog\n", "need 2 class_names, but 1 came"),
        ("dog\n\ncat\n", "line 2 is empty"),
        ("", "line 1 is empty"),
        ("dog\ndog\n", "Class names must be unique"),
        (None, "must be a UTF-8 text file"),
    ],
)
def test_a_broken_list_of_names_is_refused(tmp_path, text, message):
    path = write_npz(tmp_path / "a.npz", class_names=None)
    if text is not None:
        (tmp_path / "names.txt").write_text(text)
    with pytest.raises(BadPredictions, match=message):
        read_predictions(path, class_names=tmp_path / "names.txt")


def test_the_names_must_hold_every_class_of_a_long_table(tmp_path):
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    for path in tables(tmp_path, pairs()):
        with pytest.raises(BadPredictions, match="must name every class, but lack 'Zürich, 🐱'"):
            read_predictions(path, class_names=tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "must have the header class,group, but has none"),
        ([("class", "grp")], "must have the header class,group, but has class,grp"),
        (
            [("class", "group"), ("dgo", "head")],
            "'dgo' that the predictions lack; did you mean 'dog'?",
        ),
        ([("class", "group"), ("dog", "head"), ("dog", "new")], "'dog' comes twice"),
        ([("class", "group"), ("dog", "head")], "but lacks 'Zürich, 🐱'"),
        ([("class", "group"), ("dog",)], "line 2 must have 2 cells, but has 1"),
        ([("class", "group"), ("dog", "rare"), (NAMES[1], "new")], "Each group must be one of"),
    ],
)
def test_broken_groups_are_refused(tmp_path, rows, message):
    groups = write_csv(tmp_path / "g.csv", rows)
    with pytest.raises(BadPredictions, match=message.replace("?", r"\?")):
        read_predictions(write_npz(tmp_path / "a.npz"), groups=groups)


def test_odd_but_sound_predictions_are_fine(tmp_path):
    one = {"image_ids": None, "probs": P[:1], "labels": Y[:1]}
    assert read_predictions(write_npz(tmp_path / "a.npz", **one)).values.shape == (1, 2)
    constant = write_npz(
        tmp_path / "b.npz", probs=np.full((3, 2), 0.5), labels=np.zeros((3, 2), int)
    )
    assert read_predictions(constant).values.min() == 0.5
    certain = write_npz(tmp_path / "c.npz", probs=(Y == 1).astype(float))
    assert read_predictions(certain).values.max() == 1


# Two files


def predictions(rows=slice(None), columns=slice(None), **changes):
    fields = {
        "values": P[rows][:, columns],
        "labels": Y[rows][:, columns],
        "class_names": tuple(np.array(NAMES)[columns].tolist()),
        "groups": tuple(np.array(["head", "new"])[columns].tolist()),
        "map": None,
        "image_ids": tuple(np.array(IDS)[rows].tolist()),
        "provenance": {"model": "m"},
        "kind": "probs",
        "class_counts": np.array([5, 6])[columns],
        "proximity": np.array([0.1, 0.2, 0.3])[rows],
    }
    return Predictions(**fields | changes)


def test_another_order_is_undone():
    a, b = predictions(), predictions([2, 0, 1], [1, 0])
    found = align(a, b)
    for array in ("values", "labels", "class_counts", "proximity"):
        np.testing.assert_array_equal(getattr(found, array), getattr(a, array), strict=True)
    for field in ("class_names", "image_ids", "groups"):
        assert getattr(found, field) == getattr(a, field)
    assert align(a, a) is a
    assert (
        align(predictions(image_ids=()), predictions(columns=[1, 0], image_ids=())).groups
        == a.groups
    )


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (predictions([0, 1]), "the same images, but 'c' is only in the first"),
        (predictions(image_ids=("b", "a", "z")), "the same images, but 'c' is only in the first"),
        (predictions(columns=[0]), "the same classes, but 'Zürich, 🐱' is only in the first"),
        (predictions(image_ids=()), "only one of the two files has ids"),
        (
            predictions([2, 1, 0], labels=np.zeros_like(Y)),
            r"differ at 3 entries, the first at row 0 \('b'\), class 'dog': 1 and 0",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(b, message):
    with pytest.raises(BadPredictions, match=message):
        align(predictions(), b)


def test_what_only_the_second_holds_is_named():
    with pytest.raises(BadPredictions, match="but 'c' is only in the second"):
        align(predictions([0, 1]), predictions())
    with pytest.raises(BadPredictions, match="have 3 and 2 rows"):
        align(predictions(image_ids=()), predictions([0, 1], image_ids=()))
