"""Files of embeddings: what is read, what is named, what is refused."""

import contextlib
import io
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.embeddings import align, read_class_names, read_embeddings
from ccr_diag.errors import BadData

ROWS = np.arange(1.0, 13).reshape(4, 3)
NAMES = np.array(["cat", "dog", "owl", "ant"])


@pytest.fixture
def write(tmp_path):
    """``write("a", embeddings=…)`` writes a.npz."""

    def save(name, compressed=False, **arrays):
        path = tmp_path / f"{name}.npz"
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
        return path

    return save


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("compressed", [False, True])
def test_rows_and_names_come_back_as_written(write, kind, compressed):
    file = read_embeddings(write("a", compressed, embeddings=ROWS.astype(kind), class_names=NAMES))
    assert file.rows.dtype == kind
    assert file.rows.tolist() == ROWS.tolist()
    assert file.class_names == ("cat", "dog", "owl", "ant")
    assert file.key == "embeddings"


def test_an_npy_has_rows_alone(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(ROWS))
    file = read_embeddings(tmp_path / "a.npy")
    assert (file.rows.tolist(), file.class_names, file.key) == (ROWS.tolist(), None, None)


def test_zeros_that_compress_well_are_read(write):
    rows = np.zeros((2000, 500))
    rows[:, 0] = 1
    assert read_embeddings(write("a", True, embeddings=rows)).rows.shape == rows.shape


def test_another_single_array_is_taken_by_name(write):
    path = write("a", text=ROWS, scale=np.array(1.0), labels=np.ones((4, 4), dtype=np.int8))
    assert read_embeddings(path).key == "text"
    with pytest.raises(BadData, match="but holds 'text', 'image'; name the array 'embeddings'"):
        read_embeddings(write("b", text=ROWS, image=ROWS))
    with pytest.raises(BadData, match="but holds nothing"):
        read_embeddings(write("c"))


def changed(row, value):
    rows = ROWS.copy()
    rows[row] = value
    return rows


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": changed(1, 0)}, r"but 1 of 4 rows in .* are not, first row 1 \(counted"),
        ({"embeddings": changed([2, 3], np.nan)}, "but 2 of 4 rows .* first row 2"),
        ({"embeddings": changed(0, np.inf)}, "but 1 of 4 rows .* first row 0"),
        ({"embeddings": ROWS[0]}, r"'embeddings' in .* is float64 of shape \(3,\)"),
        ({"embeddings": ROWS[:0]}, r"shape \(rows, dim\), neither 0"),
        ({"embeddings": ROWS.astype(int)}, "is int64 of shape"),
        ({"embeddings": ROWS.astype(object)}, "embeddings in .* holds pickled objects"),
        ({"embeddings": ROWS, "class_names": NAMES.astype(object)}, "class_names in .* pickled"),
        ({"embeddings": ROWS, "class_names": NAMES[:3]}, "got 3 names for the 4 rows of"),
        ({"embeddings": ROWS, "class_names": np.arange(4)}, "text array of one axis, but is int64"),
        ({"embeddings": ROWS, "class_names": NAMES[[0, 1, 1, 2]]}, "'dog' comes twice in"),
        ({"embeddings": ROWS, "class_names": np.array(["a", "b", " ", "c"])}, "number 3 .* blank"),
    ],
)
def test_bad_content_is_refused(write, arrays, message):
    with pytest.raises(BadData, match=message):
        read_embeddings(write("a", **arrays))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(BadData, match="There is no embeddings file at"):
        read_embeddings(tmp_path / "none.npz")
    with pytest.raises(BadData, match="There is no embeddings file at"):
        read_embeddings(tmp_path)
    for suffix in ("pkl", "pt", "txt"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(pickle.dumps(ROWS))
        with pytest.raises(BadData, match=r"must be an .npz or .npy file.*numpy\.savez"):
            read_embeddings(path)
    for suffix in ("npy", "npz"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(pickle.dumps(ROWS))
        with pytest.raises(BadData, match="damaged|npz archive"):
            read_embeddings(path)


def huge_header():
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "<f4", "fortran_order": False, "shape": (2**20, 512)}
    )
    return out.getvalue() + bytes(100)


def test_a_header_that_claims_gigabytes_allocates_nothing(tmp_path):
    (tmp_path / "a.npy").write_bytes(huge_header())
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("embeddings.npy", huge_header())
    for suffix in ("npy", "npz"):
        with pytest.raises(BadData, match="claims 2,147,483,776 bytes where"):
            read_embeddings(tmp_path / f"a.{suffix}")


@given(data=st.data(), compressed=st.booleans())
def test_a_damaged_file_is_refused_or_read(tmp_path_factory, data, compressed):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    save = np.savez_compressed if compressed else np.savez
    save(path, embeddings=ROWS, class_names=NAMES)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(BadData):
            read_embeddings(path)


def test_names_of_a_text_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\r\ntraffic light \nZürich\n\n".encode())
    assert read_class_names(path) == ("cat", "traffic light", "Zürich")
    for content, message in (
        (b"cat\n\ndog\n", "number 2 .* is blank"),
        (b"", "number 1 .* is blank"),
        (b"cat\ndog\ncat", "'cat' comes twice"),
        (b"\xff\xfe\x00", "must be UTF-8 text"),
    ):
        path.write_bytes(content)
        with pytest.raises(BadData, match=message):
            read_class_names(path)
    with pytest.raises(BadData, match="no file of class names"):
        read_class_names(tmp_path / "none.txt")


def test_named_rows_are_put_into_one_order(write):
    order = [2, 0, 3, 1]
    a = read_embeddings(write("a", embeddings=ROWS, class_names=NAMES))
    b = read_embeddings(write("b", embeddings=ROWS[order] * 2, class_names=NAMES[order]))
    first, second = align(a, b)
    assert first.class_names == second.class_names == tuple(NAMES)
    assert (second.rows == 2 * first.rows).all()
    assert (first.rows == ROWS).all()


def test_names_come_from_the_other_file_a_list_or_numbers(write):
    named = read_embeddings(write("a", embeddings=ROWS, class_names=NAMES))
    plain = read_embeddings(write("b", embeddings=-ROWS))
    for pair in ((named, plain), (plain, named)):
        assert {file.class_names for file in align(*pair)} == {tuple(NAMES)}
    assert align(plain, plain)[0].class_names == ("0", "1", "2", "3")
    turned = tuple(NAMES[::-1])
    before, after = align(plain, named, turned)
    assert before.class_names == turned
    assert (after.rows == ROWS[::-1]).all()


def test_files_of_different_classes_are_refused(write):
    named = read_embeddings(write("a", embeddings=ROWS, class_names=NAMES))
    fewer = read_embeddings(write("b", embeddings=ROWS[:3], class_names=NAMES[:3]))
    with pytest.raises(BadData, match=r"'ant' is in .*a\.npz and not in .*b\.npz"):
        align(named, fewer)
    with pytest.raises(BadData, match=r"'ant' is in .*a\.npz and not in .*b\.npz"):
        align(fewer, named)
    short = read_embeddings(write("c", embeddings=ROWS[:3]))
    plain = read_embeddings(write("d", embeddings=ROWS))
    with pytest.raises(BadData, match=r"4 rows in .*d\.npz and 3 in .*c\.npz"):
        align(plain, short)
    with pytest.raises(BadData, match="got 4 names for the 3 rows of"):
        align(named, short)
    with pytest.raises(BadData, match="got 3 names for the 4 rows of"):
        align(plain, plain, ("x", "y", "z"))
    with pytest.raises(BadData, match="only for files without any"):
        align(named, named, tuple(NAMES))
