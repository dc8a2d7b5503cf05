import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock

from ccr_diag import features as module
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadData, RunFailed
from ccr_diag.features import embed, image_features, local_features, read_ahead
from ccr_diag.rates import known_rate, record_rate

KINDS = {"global": image_features, "local": local_features}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@pytest.fixture
def data(drawn_data):
    return load_dataset(drawn_data, "test")


@pytest.fixture
def opened(data, monkeypatch):
    """The same data, and the numbers of the images that were opened."""
    numbers = []
    return replace(data, open_image=lambda i: numbers.append(i) or data.open_image(i)), numbers


def files(cache, kind, suffix="npy"):
    return sorted((cache / "features").glob(f"*/{kind}*/*.{suffix}"))


def contents(cache):
    """What the cache keeps, but for locks."""
    found = (p for p in (cache / "features").rglob("*") if p.is_file() and p.suffix != ".lock")
    return {p.relative_to(cache): p.read_bytes() for p in found}


def test_features_are_the_backbones_in_order_whatever_the_batch(tiny_backbone, data, tmp_path):
    images = torch.stack([tiny_backbone.preprocess(data.open_image(i)) for i in range(len(data))])
    expected = tiny_backbone.encode_images(images)
    for batch_size in (5, 64):
        found = image_features(
            tiny_backbone, data, cache=tmp_path / str(batch_size), batch_size=batch_size, workers=2
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@kinds
def test_images_are_opened_once_and_progress_is_told(make, tiny_backbone, opened, tmp_path):
    watched, numbers = opened
    told = []
    first = make(
        tiny_backbone, watched, cache=tmp_path, batch_size=10, progress=lambda *at: told.append(at)
    )
    again = make(tiny_backbone, watched, cache=tmp_path, progress=lambda *at: told.append(at))
    assert sorted(numbers) == list(range(24))
    assert told == [(0, 24), (10, 24), (20, 24), (24, 24)]
    assert torch.equal(first, again)


@kinds
def test_numbers_do_not_depend_on_the_workers(make, tiny_backbone, data, tmp_path):
    for workers in (1, 2, 7):
        make(tiny_backbone, data, cache=tmp_path / str(workers), batch_size=5, workers=workers)
    one, two, seven = (contents(tmp_path / str(workers)) for workers in (1, 2, 7))
    assert one == two == seven
    assert len(one) == {image_features: 2, local_features: 4}[make]


@kinds
def test_a_part_finds_what_the_whole_left_and_the_whole_lacks_the_rest(
    make, tiny_backbone, opened, tmp_path
):
    data, numbers = opened
    watched = replace(data, digest=lambda i: f"{data.digest(i)} {i}")  # some are drawn alike
    whole = make(tiny_backbone, watched, cache=tmp_path / "a").clone()
    numbers.clear()
    part = watched.subset(np.array([20, 3, 11]))
    assert torch.equal(make(tiny_backbone, part, cache=tmp_path / "a"), whole[[20, 3, 11]])
    assert numbers == []
    make(tiny_backbone, part, cache=tmp_path / "b")
    assert sorted(numbers) == [3, 11, 20]
    numbers.clear()
    found = make(tiny_backbone, watched, cache=tmp_path / "b")
    assert sorted(numbers) == sorted(set(range(24)) - {3, 11, 20})
    torch.testing.assert_close(found.float(), whole.float(), rtol=1e-3, atol=1e-6)
    numbers.clear()
    for subset in (np.arange(23, -1, -1), np.arange(4, 9)):
        assert torch.equal(
            make(tiny_backbone, watched.subset(subset), cache=tmp_path / "b"), found[subset]
        )
    assert numbers == []


@kinds
def test_images_of_equal_content_have_equal_features(make, tiny_backbone, data, tmp_path):
    double = replace(
        data, digest=lambda i: data.digest(i // 2), open_image=lambda i: data.open_image(i // 2)
    )
    found = make(tiny_backbone, double, cache=tmp_path, batch_size=64)
    alone = make(tiny_backbone, data.subset(np.arange(12)), cache=tmp_path / "alone", batch_size=64)
    torch.testing.assert_close(found[::2], alone, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found[::2], found[1::2], rtol=1e-3, atol=1e-6)
    assert torch.equal(make(tiny_backbone, double, cache=tmp_path), found)
    triple = data.subset(np.arange(12))
    assert torch.equal(make(tiny_backbone, triple, cache=tmp_path), found[::2])


@kinds
def test_features_follow_content_weights_preprocessing_precision_and_opening(
    make, tiny_backbone, opened, tmp_path, monkeypatch
):
    watched, numbers = opened
    variants = [
        (tiny_backbone, watched),
        (tiny_backbone, replace(watched, digest=lambda i: watched.digest(i) + "changed")),
        (replace(tiny_backbone, fingerprint="other"), watched),
        (replace(tiny_backbone, precision="amp_bf16"), watched),
    ]
    for n, (backbone, images) in enumerate(variants, start=1):
        make(backbone, images, cache=tmp_path)
        assert len(numbers) == 24 * n
    monkeypatch.setattr(module, "OPENING", 1000)
    make(tiny_backbone, watched, cache=tmp_path)
    assert len(numbers) == 24 * 5


def test_one_changed_file_is_encoded_again_and_no_other(tiny_backbone, opened, tmp_path):
    watched, numbers = opened
    before = image_features(tiny_backbone, watched, cache=tmp_path)
    numbers.clear()
    changed = replace(
        watched,
        digest=lambda i: watched.digest(i) + "new" * (i == 5),
        open_image=lambda i: watched.open_image(6 if i == 5 else i),
    )
    after = image_features(tiny_backbone, changed, cache=tmp_path)
    assert numbers == [6]
    torch.testing.assert_close(after[5], before[6], rtol=1e-5, atol=1e-6)
    rest = np.arange(24) != 5
    assert torch.equal(after[rest], before[rest])


def damage(path, how):
    """Leave something else in the place of a file of rows or of digests."""
    content = path.read_bytes()
    if how == "another shape":
        np.save(path, np.load(path).reshape(24, -1)[:, :8])
    elif how == "zeros in rows":
        path.write_bytes(content[:128] + bytes(len(content) - 128))
    else:
        broken = {"empty": b"", "cut": content[: len(content) // 2 + 7], "text": b"not an array"}
        path.write_bytes(broken[how])


@kinds
@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        *(("npy", how) for how in ("empty", "cut", "text", "another shape", "zeros in rows")),
        *(("digests", how) for how in ("empty", "cut", "text")),
    ],
)
def test_a_damaged_file_is_as_good_as_none(make, suffix, how, tiny_backbone, data, tmp_path):
    first = make(tiny_backbone, data, cache=tmp_path, batch_size=6).clone()
    kept = contents(tmp_path)
    (file,) = files(tmp_path, "global" if make is image_features else "local", suffix)
    damage(file, how)
    assert file.read_bytes() != kept[file.relative_to(tmp_path)]
    again = make(tiny_backbone, data, cache=tmp_path, batch_size=24 if how == "cut" else 6)
    torch.testing.assert_close(again, first, rtol=1e-3, atol=1e-6)
    if how != "cut":  # else in other batches
        assert torch.equal(again, first)
        assert contents(tmp_path) == kept
    assert torch.equal(make(tiny_backbone, data, cache=tmp_path), again)


def test_rows_that_a_crash_left_as_zeros_are_made_anew_wherever_they_lie(
    tiny_backbone, opened, tmp_path
):
    watched, numbers = opened
    first = image_features(tiny_backbone, watched, cache=tmp_path)
    (file,) = files(tmp_path, "global")
    content = file.read_bytes()
    file.write_bytes(content[:-64] + bytes(64))  # the last row
    numbers.clear()
    part = watched.subset(np.arange(3))  # not of these
    assert torch.equal(image_features(tiny_backbone, part, cache=tmp_path), first[:3])
    assert numbers == []
    assert torch.equal(image_features(tiny_backbone, watched, cache=tmp_path), first)
    assert file.read_bytes() == content


@kinds
def test_a_row_that_a_crash_left_half_written_is_made_anew(make, tiny_backbone, data, tmp_path):
    first = make(tiny_backbone, data, cache=tmp_path, batch_size=6).clone()
    (file,) = files(tmp_path, "global" if make is image_features else "local")
    content = file.read_bytes()
    file.write_bytes(content[:-20] + bytes(20))  # less than one vector
    again = make(tiny_backbone, data, cache=tmp_path, batch_size=6)
    assert torch.equal(again, first)
    assert file.read_bytes() == content


@pytest.mark.parametrize("wrong", [float("nan"), 0.0])
def test_a_model_that_gives_no_unit_vectors_is_refused(
    wrong, tiny_backbone, data, tmp_path, monkeypatch
):
    made = torch.full((24, 16), 1 / 4)
    made[1] = wrong
    monkeypatch.setattr(type(tiny_backbone), "encode_images", lambda backbone, images: made)
    with pytest.raises(RunFailed, match=rf"gives image {data.image_ids[1]} some that are zero or"):
        image_features(tiny_backbone, data, cache=tmp_path)
    assert files(tmp_path, "global") == []


def test_local_features_are_the_backbones_in_order_whatever_the_batch(
    tiny_backbone, data, tmp_path
):
    images = torch.stack([tiny_backbone.preprocess(data.open_image(i)) for i in range(len(data))])
    whole, local = tiny_backbone.encode_positions(images)
    expected = torch.cat([whole[:, None], local], dim=1)
    for batch_size in (5, 64):
        found = local_features(
            tiny_backbone, data, cache=tmp_path / str(batch_size), batch_size=batch_size, workers=2
        )
        assert found.dtype == torch.float16
        assert found.shape == (24, 5, 16)
        # half a unit in the last place, of normal and of subnormal numbers
        error = (found.float() - expected).abs()
        assert bool((error <= expected.abs() * 2**-11 + 2**-25 + 1e-6).all())
        cosines = torch.einsum("ipd,jd->ipj", found.float(), whole)
        exact = torch.einsum("ipd,jd->ipj", expected, whole)
        assert (cosines - exact).abs().max() < 5e-4


def test_one_pass_gives_local_and_global_features(tiny_backbone, opened, tmp_path):
    watched, numbers = opened
    local_features(tiny_backbone, watched, cache=tmp_path, batch_size=10)
    whole = image_features(tiny_backbone, watched, cache=tmp_path)
    assert sorted(numbers) == list(range(24))
    alone = image_features(tiny_backbone, watched, cache=tmp_path / "alone", batch_size=10)
    assert torch.equal(whole, alone)
    (file,) = files(tmp_path, "global")
    content = file.read_bytes()
    (local,) = files(tmp_path, "local")
    local.unlink()
    local_features(tiny_backbone, watched, cache=tmp_path, batch_size=3)
    assert file.read_bytes() == content  # what is there is not written again


def test_local_features_stay_in_one_file_and_leave_it_as_it_is(tiny_backbone, data, tmp_path):
    for part in (data.subset(np.arange(9, 3, -1)), data):  # the second is put together of two
        for _ in range(2):  # as they are made, and as they are found
            found = local_features(tiny_backbone, part, cache=tmp_path)
            (file,) = [p for p in files(tmp_path, "local") if len(np.load(p)) == len(part)]
            content = file.read_bytes()
            assert np.array_equal(np.load(file), found.numpy())
            assert not found.numpy().flags.owndata
            found.zero_()
            assert file.read_bytes() == content
    assert len(files(tmp_path, "local")) == 2


def test_local_features_alone_are_no_global_ones_and_the_reverse(tiny_backbone, opened, tmp_path):
    watched, numbers = opened
    whole = image_features(tiny_backbone, watched.subset(np.arange(10)), cache=tmp_path)
    numbers.clear()
    local_features(tiny_backbone, watched, cache=tmp_path)
    assert sorted(numbers) == list(range(24))
    assert torch.equal(image_features(tiny_backbone, watched, cache=tmp_path)[:10], whole)


@kinds
@pytest.mark.parametrize("at", [0, 6, 17, 23])
def test_an_interrupted_pass_goes_on_and_leaves_the_same_bytes(
    make, at, tiny_backbone, data, tmp_path
):
    def opened(i):
        if i == at:
            raise KeyboardInterrupt
        return data.open_image(i)

    stopped = replace(data, open_image=opened)
    with pytest.raises(KeyboardInterrupt):
        make(tiny_backbone, stopped, cache=tmp_path / "a", batch_size=5)
    numbers = []
    rest = replace(data, open_image=lambda i: numbers.append(i) or data.open_image(i))
    make(tiny_backbone, rest, cache=tmp_path / "a", batch_size=5)
    assert sorted(numbers) == list(range(at // 5 * 5, 24))
    make(tiny_backbone, data, cache=tmp_path / "b", batch_size=5)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@kinds
def test_rows_that_a_killed_process_wrote_in_part_are_written_again(
    make, tiny_backbone, opened, tmp_path
):
    watched, numbers = opened
    first = make(tiny_backbone, watched, cache=tmp_path, batch_size=4).clone()
    whole = contents(tmp_path)
    for kind in ("global", "local")[: 1 + (make is local_features)]:
        (rows,), (digests,) = files(tmp_path, kind), files(tmp_path, kind, "digests")
        rows.write_bytes(rows.read_bytes()[:-7])  # the last batch was on its way
        digests.write_bytes(digests.read_bytes()[: 21 * 32])
    numbers.clear()
    assert torch.equal(make(tiny_backbone, watched, cache=tmp_path, batch_size=4), first)
    assert sorted(numbers) == [20, 21, 22, 23]
    assert contents(tmp_path) == whole


PROGRAM = """
import sys
from pathlib import Path
from ccr_diag.backbone import load_backbone
from ccr_diag.data import load_dataset
from ccr_diag.features import local_features
print(flush=True)
sys.stdin.readline()
clip, data, cache = sys.argv[1:]
local_features(load_backbone(clip, device="cpu"), load_dataset(data, "test"), cache=Path(cache),
               batch_size=2)
"""


@pytest.mark.slow
def test_two_processes_on_one_cache_leave_what_one_leaves(
    tiny_clip, tiny_backbone, drawn_data, data, tmp_path
):
    command = [sys.executable, "-c", PROGRAM, tiny_clip, drawn_data, str(tmp_path / "a")]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        process.stdout.readline()
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    local_features(tiny_backbone, data, cache=tmp_path / "b", batch_size=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@kinds
def test_two_that_write_at_once_leave_what_one_leaves(make, tiny_backbone, opened, tmp_path):
    watched, numbers = opened
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(
            lambda _: make(tiny_backbone, watched, cache=tmp_path / "a", batch_size=2), range(2)
        )
    assert sorted(numbers) == list(range(24))
    assert torch.equal(first, second)
    make(tiny_backbone, watched, cache=tmp_path / "b", batch_size=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_who_comes_second_says_that_it_waits_and_encodes_nothing(
    tiny_backbone, opened, tmp_path, caplog
):
    caplog.set_level("WARNING", logger="ccr_diag")
    watched, numbers = opened
    first = image_features(tiny_backbone, watched, cache=tmp_path)
    (lock,) = (tmp_path / "features").glob("*/*.lock")
    file, digests = *files(tmp_path, "global"), *files(tmp_path, "global", "digests")
    hidden = file.with_suffix(".aside"), digests.with_suffix(".too")
    numbers.clear()
    file.rename(hidden[0])
    digests.rename(hidden[1])
    held = FileLock(lock)
    held.acquire()

    def emitted(record):  # it waits: the other process is done now
        hidden[0].rename(file)
        hidden[1].rename(digests)
        held.release()
        return True

    caplog.handler.addFilter(emitted)
    assert torch.equal(image_features(tiny_backbone, watched, cache=tmp_path), first)
    caplog.handler.removeFilter(emitted)
    assert caplog.messages == [
        "Another process writes the same features; waiting until it is done."
    ]
    assert numbers == []


def test_the_size_is_announced_and_what_does_not_fit_is_refused(
    tiny_backbone, data, tmp_path, monkeypatch, caplog
):
    usage = shutil.disk_usage(tmp_path)._replace(free=24 * 5 * 16 * 2 - 1)
    with monkeypatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(RunFailed) as error:
            local_features(tiny_backbone, data, cache=tmp_path)
        assert "24 × 5 × 16 float16 numbers, 0.0 MiB, but" in str(error.value)
        assert files(tmp_path, "local") == []
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=24 * 5 * 16 * 2))
        local_features(tiny_backbone, data, cache=tmp_path)
    assert "24 × 5 × 16 float16 numbers, 0.0 MiB, go to the cache in" in caplog.text


def test_a_disk_that_fills_up_is_one_sentence_and_what_is_done_is_kept(
    tiny_backbone, opened, tmp_path
):
    watched, numbers = opened
    image_features(tiny_backbone, watched, cache=tmp_path / "whole", batch_size=6)
    full = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 + 15 * 16 * 4, full[1][1]))  # 15 rows of 24
    try:
        with pytest.raises(RunFailed) as error:
            image_features(tiny_backbone, watched, cache=tmp_path, batch_size=6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, full[1])
        signal.signal(signal.SIGXFSZ, full[0])
    (file,) = files(tmp_path, "global")
    assert str(error.value) == (
        f"Features must go to the cache, but {file} cannot be written (File too large); free some "
        "space or choose another CCR_DIAG_CACHE, and run the same command again: what is done is "
        "kept."
    )
    numbers.clear()
    image_features(tiny_backbone, watched, cache=tmp_path, batch_size=6)
    assert sorted(numbers) == list(range(12, 24))
    assert contents(tmp_path) == contents(tmp_path / "whole")


def test_half_precision_is_what_was_stored_the_first_time_as_later(tiny_backbone, opened, tmp_path):
    watched, numbers = opened
    full = image_features(tiny_backbone, watched, cache=tmp_path)
    first, later = (
        embed(tiny_backbone, watched, dtype="float16", cache=tmp_path).features for _ in range(2)
    )
    assert len(numbers) == 48
    assert torch.equal(first, later)
    assert torch.equal(first, full.half().float())
    sizes = [
        file.stat().st_size
        for kind in ("global-float16", "global-float32")
        for file in files(tmp_path, kind)
    ]
    assert [size - 128 for size in sizes] == [24 * 16 * 2, 24 * 16 * 4]


def broken(data, bad):
    """The data set, of which some images cannot be opened, and one has no file."""

    def opened(i):
        if i in bad:
            raise BadData(f"Image {i} cannot be read (it is empty).")
        return data.open_image(i)

    def digest(i):
        if i == min(bad):
            raise BadData(f"Image {i} cannot be read: gone.")
        return data.digest(i)

    return replace(data, open_image=opened, digest=digest)


@pytest.mark.parametrize("local", [False, True])
def test_unreadable_images_are_left_out_if_asked_for(local, tiny_backbone, data, tmp_path):
    bad = {2, 10, 11, 12, 13, 14}  # one of them a whole batch
    rest = np.array([i for i in range(24) if i not in bad])
    for encoded in (18, 0):
        found = embed(
            tiny_backbone, broken(data, bad), local=local, skip_unreadable=True, cache=tmp_path,
            batch_size=5,
        )  # fmt: skip
        assert found.encoded == encoded
        assert np.array_equal(found.rows, rest)
        assert list(found.unreadable) == sorted(bad)
        assert found.unreadable[2] == "Image 2 cannot be read: gone."
        assert found.unreadable[13] == "Image 13 cannot be read (it is empty)."
        alone = image_features(tiny_backbone, data.subset(rest), cache=tmp_path / "alone")
        torch.testing.assert_close(found.features, alone, rtol=1e-5, atol=1e-6)
    opened = []
    watched = replace(data, open_image=lambda i: opened.append(i) or data.open_image(i))
    if local:
        local_features(tiny_backbone, watched.subset(rest), cache=tmp_path)
    image_features(tiny_backbone, watched.subset(rest), cache=tmp_path)
    assert opened == []


def test_the_first_unreadable_image_is_named_and_what_was_done_is_kept(
    tiny_backbone, data, tmp_path
):
    def opened(i):
        if i in (13, 17):
            raise BadData(f"Image {i} cannot be read.")
        return data.open_image(i)

    with pytest.raises(BadData, match="^Image 13 cannot"):
        image_features(
            tiny_backbone, replace(data, open_image=opened), cache=tmp_path, batch_size=5
        )
    assert len(np.load(*files(tmp_path, "global"))) == 10
    with pytest.raises(BadData, match=r"^Image 2 .*: gone; replace it, or leave out"):
        image_features(tiny_backbone, broken(data, {2, 3}), cache=tmp_path)


def test_something_must_be_readable(tiny_backbone, data, tmp_path):
    with pytest.raises(BadData, match=r"none of the 24 of manifest:\S+, split test, is; the first"):
        embed(tiny_backbone, broken(data, set(range(24))), skip_unreadable=True, cache=tmp_path)
    assert list(tmp_path.rglob("*.npy")) == []


def test_reading_keeps_ahead_but_not_by_far_and_stops_when_nobody_wants_more(tiny_backbone, data):
    opened = []

    backbone = replace(tiny_backbone, preprocess=lambda i: torch.full((3, 2, 2), float(i)))
    endless = replace(data, open_image=lambda i: opened.append(i) or i)
    with closing(read_ahead(backbone, endless, range(1000), 10, workers=3)) as batches:
        for number in range(5):
            asked, rows, images = next(batches)
            assert (asked, rows) == (10, list(range(10 * number, 10 * number + 10)))
            assert images[:, 0, 0, 0].tolist() == rows
            assert len(opened) <= 10 * (number + 3)
        deadline = time.monotonic() + 5
        while len(opened) < 70 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(opened) == 70
    assert len(opened) == 70


def test_global_features_that_are_kept_stay_when_local_ones_are_made(tiny_backbone, data, tmp_path):
    kept = image_features(tiny_backbone, data, cache=tmp_path)
    darker = replace(tiny_backbone, preprocess=lambda image: tiny_backbone.preprocess(image) / 2)
    found = embed(darker, data, local=True, cache=tmp_path)
    assert found.encoded == 24
    assert torch.equal(found.features, kept)
    assert torch.equal(image_features(tiny_backbone, data, cache=tmp_path), kept)


def test_what_is_not_begun_when_nobody_wants_more_never_is(tiny_backbone, data):
    opened = []

    def slowly(i):
        time.sleep(0.005)
        opened.append(i)
        return i

    backbone = replace(tiny_backbone, preprocess=lambda i: torch.full((3, 2, 2), float(i)))
    images = replace(data, open_image=slowly)
    with closing(read_ahead(backbone, images, range(1000), 20, workers=1)) as batches:
        next(batches)
    assert 20 <= len(opened) < 40  # of the 60 that were asked for


def test_rates_are_remembered_by_model_device_and_precision(tiny_backbone, data, tmp_path):
    assert known_rate("m", "cpu", cache=tmp_path) is None
    image_features(tiny_backbone, data, cache=tmp_path, batch_size=24)
    assert known_rate(tiny_backbone.name, "cpu", cache=tmp_path) is None  # the warm-up alone
    began = time.monotonic()
    image_features(tiny_backbone, data, cache=tmp_path / "b", batch_size=4)
    rate = known_rate(tiny_backbone.name, "cpu", "fp32", cache=tmp_path / "b")
    assert rate > 20 / (time.monotonic() - began)
    record_rate("m", "cuda", "amp_bf16", 812.34, cache=tmp_path / "b")
    assert known_rate("m", "cuda", "amp_bf16", cache=tmp_path / "b") == 812.3
    assert known_rate("m", "cpu", "amp_bf16", cache=tmp_path / "b") is None
    assert known_rate(tiny_backbone.name, "cpu", cache=tmp_path / "b") == rate
    rates = tmp_path / "b" / "rates.json"
    rates.write_text("[1")
    assert known_rate("m", "cuda", "amp_bf16", cache=tmp_path / "b") is None
    rates.unlink()
    rates.mkdir()
    record_rate("m", "cuda", "amp_bf16", 812.34, cache=tmp_path / "b")  # goes without
