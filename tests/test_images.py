import os
import sqlite3
import subprocess
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from ccr_diag.data import file_digests
from ccr_diag.data.file_digests import DigestMemo, file_digest
from ccr_diag.data.images import MAX_PIXELS, ImageFiles, inside, open_rgb
from ccr_diag.errors import BadData

RED, GREEN = (200, 30, 40), (20, 180, 60)


def picture(size=(48, 32)):
    """Red above, green below, so that turning it is seen."""
    image = Image.new("RGB", size, RED)
    image.paste(GREEN, (0, size[1] // 2, *size))
    return image


def near(found, expected, atol=0):
    return np.abs(np.asarray(found, np.int16) - np.asarray(expected, np.int16)).max() <= atol


def saved(path, image, **how):
    image.save(path, **how)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "ppm", "webp", "jpg"])
def test_every_format_shows_the_picture(suffix, tmp_path):
    path = saved(
        tmp_path / f"x.{suffix}", picture(), **({"lossless": True} if suffix == "webp" else {})
    )
    found = open_rgb(path)
    assert (found.mode, found.size) == ("RGB", (48, 32))
    with Image.open(path) as opened:
        assert near(found, opened.convert("RGB"))
    assert near(found.crop((0, 0, 48, 8)), picture().crop((0, 0, 48, 8)), 3)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *(("png", mode) for mode in ("RGB", "L", "1", "P", "RGBA", "LA")),
        *(("tif", mode) for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "YCbCr", "CMYK")),
        *(("jpg", mode) for mode in ("RGB", "L", "1", "YCbCr", "CMYK")),
    ],
)
def test_pixels_are_those_of_pillows_conversion(suffix, mode, tmp_path):
    path = saved(tmp_path / f"x.{suffix}", picture().convert(mode))
    with Image.open(path) as opened:
        expected = opened.convert("RGB")
    assert near(open_rgb(path), expected)
    if mode in ("RGBA", "YCbCr", "CMYK"):
        assert near(open_rgb(path).crop((0, 0, 48, 8)), picture().crop((0, 0, 48, 8)), 30)


@pytest.mark.parametrize("transparency", [3, bytes([255, 0, 128])])
def test_transparency_is_dropped_as_open_clip_drops_it(transparency, tmp_path):
    palette = picture().convert("P", palette=Image.Palette.ADAPTIVE)
    path = saved(tmp_path / "p.png", palette, transparency=transparency)
    assert near(open_rgb(path), palette.convert("RGB"))
    hidden = picture()
    hidden.putalpha(0)
    assert near(open_rgb(saved(tmp_path / "a.png", hidden)), picture())


@pytest.mark.parametrize(
    ("suffix", "mode"), [("png", "I;16"), ("tif", "I;16"), ("tif", "I"), ("pgm", "I")]
)
def test_grey_of_16_bits_is_scaled_and_not_cut_off(suffix, mode, tmp_path):
    grey = np.linspace(0, 65535, 48 * 32).reshape(32, 48)
    if mode == "I":
        image = Image.fromarray(grey.astype(np.int32))
    else:
        image = Image.fromarray(grey.astype(np.uint16))
    found = np.asarray(open_rgb(saved(tmp_path / f"x.{suffix}", image)))
    assert near(found, np.repeat((grey // 256)[..., None], 3, axis=2), 1)
    assert (found[0, 0, 0], found[-1, -1, 0]) == (0, 255)


def test_colour_of_16_bits_keeps_its_upper_8_too(tmp_path):
    """What grey is held against: a PNG of 16-bit colour, written by hand."""
    import struct
    import zlib

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    pixel = np.array([[0x80FF, 0x12FF, 0xFFFF]], dtype=">u2").tobytes()
    path = tmp_path / "x.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" + pixel))
        + chunk(b"IEND", b"")
    )
    assert open_rgb(path).getpixel((0, 0)) == (0x80, 0x12, 0xFF)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((4, 4), 70000, dtype=np.int32), "its grey has more than 16 bits"),
        (np.full((4, 4), -1, dtype=np.int32), "its grey has more than 16 bits"),
        (np.full((4, 4), 0.5, dtype=np.float32), "its pixels are numbers with a fraction"),
    ],
)
def test_numbers_without_a_known_white_are_refused(array, reason, tmp_path):
    path = saved(tmp_path / "x.tif", Image.fromarray(array))
    with pytest.raises(BadData) as error:
        open_rgb(path)
    assert str(error.value) == f"Image {path} cannot be read ({reason})."


def test_inverted_cmyk_of_a_jpeg_is_turned_right(tmp_path):
    path = saved(tmp_path / "x.jpg", picture().convert("CMYK"), quality=98)
    assert b"Adobe" in path.read_bytes()
    assert near(open_rgb(path).crop((0, 0, 48, 8)), picture().crop((0, 0, 48, 8)), 8)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_shown(suffix, tmp_path):
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN)]
    how = {"webp": {"lossless": True}}.get(suffix, {})
    path = saved(
        tmp_path / f"x.{suffix}", frames[0], save_all=True, append_images=frames[1:], **how
    )
    with Image.open(path) as opened:
        assert opened.n_frames == 2
    assert near(open_rgb(path), frames[0])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_of_exif_is_applied(orientation, suffix, order, tmp_path):
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "a maker"
    exif[0x0112] = orientation
    path = saved(tmp_path / f"x.{suffix}", picture(), exif=exif)
    with Image.open(path) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    found = open_rgb(path)
    assert found.size == ((48, 32) if orientation < 5 else (32, 48))
    assert near(found, expected)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"rubbish",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x2a\0\0\0",
    ],
)
def test_damaged_exif_changes_nothing_and_warns_of_nothing(exif, tmp_path):
    path = saved(tmp_path / "x.jpg", picture(), exif=exif, dpi=(72, 72))  # else Pillow reads it
    assert near(open_rgb(path), open_rgb(saved(tmp_path / "y.jpg", picture())))


def test_a_colour_profile_is_not_applied_as_open_clip_applies_none(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = saved(tmp_path / "x.png", picture(), icc_profile=profile)
    assert near(open_rgb(path), picture())


def damaged(folder, how):
    path = folder / "x.jpg"
    if how == "folder":
        path.mkdir()
    elif how != "missing":
        whole = saved(path, picture((400, 300))).read_bytes()
        path.write_bytes(
            {
                "empty": b"",
                "cut": whole[: len(whole) // 2],
                "text": b"no image\n" * 9,
                "html": b"<html>403</html>",
                "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            }[how]
        )
    return path


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("empty", r"it is empty"),
        ("cut", r"image file is truncated .*"),
        ("text", r"it is no image of a known format"),
        ("html", r"it is no image of a known format"),
        ("eps", r"it is no image of a known format"),
        ("folder", r"Is a directory"),
        ("missing", r"No such file or directory"),
    ],
)
def test_what_is_no_whole_image_is_named_in_one_sentence(how, reason, tmp_path):
    path = damaged(tmp_path, how)
    text = rf"^Image {path} cannot be read \({reason}\)\.$"
    with pytest.raises(BadData, match=text):
        ImageFiles((path,)).open(0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of tags
def test_a_pipe_is_no_image_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    images = ImageFiles((tmp_path / "x.jpg",))
    for read in (images.open, images.digest):
        with pytest.raises(BadData, match=r"cannot be read \(Not a file\)\.$"):
            read(0)


def test_what_pillow_warns_of_is_bad_data_where_warnings_are_errors(tmp_path):
    path = saved(tmp_path / "x.tif", picture(), compression="tiff_lzw")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadData, match=r"cannot be read \("):
        open_rgb(path)


def test_any_damage_is_bad_data_or_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "x"
    refused = 0
    for suffix in ("jpg", "png", "gif", "webp", "tif", "bmp"):
        whole = saved(tmp_path / f"x.{suffix}", picture((24, 16))).read_bytes()
        for _ in range(25):
            content = bytearray(whole)
            for at in rng.integers(0, min(len(whole), 120), 3):
                content[at] = rng.integers(256)
            path.write_bytes(content[: rng.integers(10, len(content) + 1)])
            try:
                assert open_rgb(path).mode == "RGB"
            except BadData:
                refused += 1
    assert refused > 60


OPENS = """
import resource, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
from PIL import Image
from ccr_diag.data.images import open_rgb
from ccr_diag.errors import BadData
limit = Image.MAX_IMAGE_PIXELS
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        found = open_rgb(Path(name))
        print(found.size, found.mode, found.getpixel((9, 9)))
    except BadData as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
assert Image.MAX_IMAGE_PIXELS == limit
"""


def opened_elsewhere(*paths):
    """Lines about each file, and the memory that they took, in MiB."""
    command = [sys.executable, "-c", OPENS, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    *lines, peak = done.stdout.splitlines()
    return lines, int(peak)


def write_png_header(path, width, height):
    """A PNG that promises these pixels and holds one row of them."""
    import struct
    import zlib

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(width + 1)))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.slow
def test_30000_pixels_a_side_take_bounded_memory(tmp_path):
    jpeg = tmp_path / "x.jpg"
    Image.new("L", (30000, 30000), 77).save(jpeg)
    png = tmp_path / "x.png"
    Image.new("L", (30000, 30000), 77).save(png, compress_level=1)
    (shown, refused), peak = opened_elsewhere(jpeg, png)
    assert shown == "(7500, 7500) RGB (77, 77, 77)"
    assert "30,000 × 30,000 are more than the 89,478,485 pixels" in refused
    assert peak < 400


def test_a_large_jpeg_is_decoded_smaller_and_another_file_refused_by_its_header(tmp_path):
    jpeg = tmp_path / "x.jpg"
    Image.new("L", (30000, 3000), 77).save(jpeg)
    png = write_png_header(tmp_path / "x.png", 30000, 30000)
    (shown, refused), peak = opened_elsewhere(jpeg, png)
    assert shown == "(15000, 1500) RGB (77, 77, 77)"
    assert "30,000 × 30,000 are more than the 89,478,485 pixels" in refused
    assert peak < 250


def test_sizes_below_the_limit_are_whole_and_a_progressive_jpeg_beyond_it_is_refused(
    tmp_path, monkeypatch
):
    from ccr_diag.data import images

    monkeypatch.setattr(images, "MAX_PIXELS", 48 * 32)
    assert open_rgb(saved(tmp_path / "a.jpg", picture())).size == (48, 32)
    assert open_rgb(saved(tmp_path / "b.jpg", picture((49, 32)))).size == (25, 16)
    assert open_rgb(saved(tmp_path / "c.jpg", picture((49 * 4, 32 * 4)))).size == (25, 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_rgb(saved(tmp_path / "d.jpg", picture((96, 64)), exif=exif)).size == (32, 48)
    for name, how in (
        ("e.jpg", {"progressive": True}),
        ("f.png", {}),
        ("g.gif", {}),
        ("h.tif", {}),
    ):
        with pytest.raises(BadData, match=rf"{name} .*49 × 32 are more than the 1,536 pixels"):
            open_rgb(saved(tmp_path / name, picture((49, 32)), **how))


def test_the_limit_is_where_pillow_begins_to_warn():
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS


def test_threads_open_files_as_one_does(tmp_path):
    paths = tuple(
        saved(tmp_path / f"{i}.{suffix}", picture((40 + i, 32)))
        for i, suffix in enumerate(["jpg", "png", "gif", "tif", "webp"] * 8)
    )
    files = ImageFiles(paths)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(files.open, range(len(paths))))
    assert all(near(image, open_rgb(path)) for image, path in zip(found, paths, strict=True))


# ---- names in annotation files


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data set"
    (folder / "train ä").mkdir(parents=True)
    for name in ("a b.jpg", "train ä/x.jpg", "train ä/ü.jpg"):
        (folder / name).touch()
    return folder


def test_names_are_found_below_the_folder(root):
    for name in ("a b.jpg", "./a b.jpg", "train ä/x.jpg", "train ä\\x.jpg", "train ä//x.jpg"):
        assert inside(root, name).is_file()
        assert inside(root, name).is_relative_to(root)
    assert inside(root, "train ä\\x.jpg") == root / "train ä" / "x.jpg"


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_accents_are_found_composed_or_not(on_disk, written, tmp_path):
    name = "größe/é.jpg"
    path = tmp_path / unicodedata.normalize(on_disk, name)
    path.parent.mkdir()
    path.touch()
    assert inside(tmp_path, unicodedata.normalize(written, name)) == path


def test_of_two_names_that_differ_in_that_alone_each_is_found(tmp_path):
    names = [unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD")]
    for name in names:
        (tmp_path / name).write_text(name, encoding="utf-8")
    for name in names:
        assert inside(tmp_path, name).read_text(encoding="utf-8") == name


def test_what_is_not_there_keeps_its_name_until_it_comes(root):
    assert inside(root, "new/z.jpg") == root / "new" / "z.jpg"
    assert inside(root, "a b.jpg/z.jpg") == root / "a b.jpg" / "z.jpg"
    assert inside(root, "z\0.jpg") == root / "z\0.jpg"
    (root / "new").mkdir()
    (root / "new" / unicodedata.normalize("NFD", "é.jpg")).touch()
    assert inside(root, "new/é.jpg").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "../x.jpg",
        "train/../../x.jpg",
        "..\\x.jpg",
        "/etc/passwd",
        "\\\\server\\x",
        "C:\\x.jpg",
        "c:/x",
        "",
    ],
)
def test_names_that_lead_out_are_refused(root, name):
    with pytest.raises(BadData, match=r"^An image must lie in the folder .*, but is named .*\.$"):
        inside(root, name)


def test_links_that_lead_out_are_refused_and_others_followed(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.jpg").touch()
    (root / "out.jpg").symlink_to(outside / "x.jpg")
    (root / "out").symlink_to(outside)
    (root / "in.jpg").symlink_to("a b.jpg")
    (root / "in").symlink_to(root / "train ä")
    (root / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to(root)
    for folder in (root, tmp_path / "link"):
        assert inside(folder, "in.jpg") == folder / "in.jpg"
        assert inside(folder, "in/x.jpg") == folder / "in" / "x.jpg"
        for name in ("out.jpg", "out/x.jpg", "in/../../outside/x.jpg"):
            with pytest.raises(BadData, match="leads? out of it|is named"):
                inside(folder, name)
        with pytest.raises(BadData, match="behind a link"):
            inside(folder, "circle")


def test_a_link_put_in_the_place_of_a_file_is_seen(root, tmp_path):
    inside(root, "a b.jpg")
    (tmp_path / "secret").touch()
    time.sleep(0.02)  # a tick of the clock of the file system
    (root / "a b.jpg").unlink()
    (root / "a b.jpg").symlink_to(tmp_path / "secret")
    with pytest.raises(BadData, match="behind a link"):
        inside(root, "a b.jpg")


def test_a_folder_is_listed_once_for_all_of_its_names(root, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    for _ in range(100):
        inside(root, "train ä/x.jpg")
        inside(root, "missing.jpg")
    assert len(listed) <= 2


# ---- digests


@pytest.fixture
def memo(tmp_path, monkeypatch):
    """A memo that trusts young files, and how often files were read."""
    monkeypatch.setattr(file_digests, "YOUNG", -1e9)
    monkeypatch.setattr(file_digests, "PATIENCE", 0.05)
    hashed = []
    whole = file_digests.hashlib.file_digest
    monkeypatch.setattr(
        file_digests.hashlib, "file_digest", lambda *args: hashed.append(1) or whole(*args)
    )
    return lambda: DigestMemo(tmp_path / "cache" / "digests.sqlite3"), hashed


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_did_not_change_is_read_once(memo, tmp_path):
    make, hashed = memo
    paths = [tmp_path / f"{i} ä.bin" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 100)
    for _ in range(2):
        table = make()
        assert [table(path) for path in paths] == [sha256(path) for path in paths]
        table.close()
    assert len(hashed) == 5


def test_a_file_that_changed_is_read_again_whatever_its_times_say(memo, tmp_path):
    make, hashed = memo
    table, path = make(), tmp_path / "x"
    for content in (b"first", b"other", b"third"):
        before = path.stat() if path.exists() else None
        with path.open("wb") as file:  # in place
            file.write(content)
        if before is not None:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert table(path) == sha256(path)
        time.sleep(0.02)
        file_digests._write(table._database, table._pending)
    replaced = tmp_path / "y"
    replaced.write_bytes(b"forth")
    os.utime(replaced, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    replaced.rename(path)
    assert table(path) == sha256(path)
    table.close()


def test_a_young_file_is_not_remembered(memo, tmp_path, monkeypatch):
    make, hashed = memo
    monkeypatch.setattr(file_digests, "YOUNG", 2.0)
    path = tmp_path / "x"
    path.write_bytes(b"1")
    for _ in range(2):
        table = make()
        assert table(path) == sha256(path)
        table.close()
    assert len(hashed) == 2


@pytest.mark.parametrize("how", ["damaged", "cut", "other table", "folder in its place", "locked"])
def test_what_is_wrong_with_the_table_costs_time_alone(how, memo, tmp_path):
    make, hashed = memo
    path, file = tmp_path / "x", tmp_path / "cache" / "digests.sqlite3"
    path.write_bytes(b"1")
    table = make()
    table(path)
    table.close()
    content = file.read_bytes()
    other = None
    if how == "damaged":
        file.write_bytes(b"not a table at all" * 99)
    elif how == "cut":
        file.write_bytes(content[:5000])
    elif how == "other table":
        file.unlink()
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE files (a, b)")
    elif how == "locked":
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
    else:
        file.unlink()
        file.mkdir()
    for _ in range(2):
        table = make()
        assert table(path) == sha256(path)
        table.close()
    if other is not None:
        other.close()
    if how in ("damaged", "cut"):
        assert len(hashed) == 2  # made anew, and then of use


def test_threads_and_memos_share_a_table(memo, tmp_path):
    make, hashed = memo
    paths = [tmp_path / str(i) for i in range(50)]
    for path in paths:
        path.write_bytes(path.name.encode())
    tables = [make(), make()]
    threads = [
        threading.Thread(target=lambda t=table: [t(path) for path in paths]) for table in tables * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for table in tables:
        table.close()
    read = len(hashed)
    table = make()
    assert [table(path) for path in paths] == [sha256(path) for path in paths]
    assert len(hashed) == read
    table.close()


def test_digests_of_image_files_are_of_their_bytes(tmp_path):
    path = saved(tmp_path / "x.png", picture())
    assert ImageFiles((path,)).digest(0) == file_digest(path) == sha256(path)
    with pytest.raises(BadData, match=rf"^Image {tmp_path / 'no'} cannot be read \(No such file"):
        ImageFiles((Path(tmp_path / "no"),)).digest(0)
