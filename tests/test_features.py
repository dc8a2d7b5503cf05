import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from ccr_diag.data import load_dataset
from ccr_diag.errors import RunFailed
from ccr_diag.features import image_features, local_features


def test_features_are_the_backbones_in_order_whatever_the_batch(
    tiny_backbone, drawn_data, tmp_path
):
    data = load_dataset(drawn_data, "test")
    images = torch.stack([tiny_backbone.preprocess(data.open_image(i)) for i in range(len(data))])
    expected = tiny_backbone.encode_images(images)
    for batch_size in (5, 64):
        found = image_features(
            tiny_backbone, data, cache=tmp_path / str(batch_size), batch_size=batch_size, workers=2
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_images_are_opened_once_and_progress_is_told(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "test")
    opened, told = [], []
    watched = replace(data, open_image=lambda i: opened.append(i) or data.open_image(i))
    first = image_features(
        tiny_backbone, watched, cache=tmp_path, batch_size=10, progress=lambda *at: told.append(at)
    )
    again = image_features(tiny_backbone, watched, cache=tmp_path)
    assert sorted(opened) == list(range(24))
    assert told == [(10, 24), (20, 24), (24, 24)]
    assert torch.equal(first, again)


def test_the_cache_key_follows_content_order_weights_and_precision(
    tiny_backbone, drawn_data, tmp_path
):
    data = load_dataset(drawn_data, "test")
    variants = [
        (tiny_backbone, data),
        (tiny_backbone, data.subset(np.arange(23, -1, -1))),
        (tiny_backbone, replace(data, digest=lambda i: data.digest(i) + "changed")),
        (replace(tiny_backbone, fingerprint="other"), data),
        (replace(tiny_backbone, precision="amp_bf16"), data),
    ]
    for backbone, images in variants:
        image_features(backbone, images, cache=tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == len(variants)


def test_a_damaged_cache_file_is_made_anew(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "test")
    first = image_features(tiny_backbone, data, cache=tmp_path)
    (file,) = (tmp_path / "features").iterdir()
    for broken in (b"", file.read_bytes()[:300], b"not an array"):
        file.write_bytes(broken)
        assert torch.equal(image_features(tiny_backbone, data, cache=tmp_path), first)


def test_local_features_are_the_backbones_in_order_whatever_the_batch(
    tiny_backbone, drawn_data, tmp_path
):
    data = load_dataset(drawn_data, "test")
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


def test_one_pass_gives_local_and_global_features(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "test")
    opened, told = [], []
    watched = replace(data, open_image=lambda i: opened.append(i) or data.open_image(i))
    first = local_features(
        tiny_backbone, watched, cache=tmp_path, batch_size=10, progress=lambda *at: told.append(at)
    )
    again = local_features(tiny_backbone, watched, cache=tmp_path)
    whole = image_features(tiny_backbone, watched, cache=tmp_path)
    assert sorted(opened) == list(range(24))
    assert told == [(10, 24), (20, 24), (24, 24)]
    assert torch.equal(first, again)
    alone = image_features(tiny_backbone, data, cache=tmp_path / "alone", batch_size=10)
    assert torch.equal(whole, alone)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "features").iterdir()}
    (tmp_path / "features" / next(n for n in before if "local" in n)).unlink()
    local_features(tiny_backbone, data, cache=tmp_path)
    kept = next(p for p in (tmp_path / "features").iterdir() if "local" not in p.name)
    assert kept.stat().st_mtime_ns == before[kept.name]  # what is there is not written again


def test_local_features_stay_in_the_file_and_leave_it_as_it_is(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "test")
    for _ in range(2):  # as they are made, and as they are found
        found = local_features(tiny_backbone, data, cache=tmp_path)
        (file,) = (tmp_path / "features").glob("*-local.npy")
        content = file.read_bytes()
        assert np.array_equal(np.load(file), found.numpy())
        assert content[-64:] in found.numpy().tobytes()
        found.zero_()
        assert file.read_bytes() == content


def test_local_features_follow_content_weights_and_precision(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "test")
    variants = [
        (tiny_backbone, data),
        (tiny_backbone, replace(data, digest=lambda i: data.digest(i) + "changed")),
        (replace(tiny_backbone, fingerprint="other"), data),
        (replace(tiny_backbone, precision="amp_bf16"), data),
    ]
    for backbone, images in variants:
        local_features(backbone, images, cache=tmp_path)
    assert len(list((tmp_path / "features").glob("*-local.npy"))) == len(variants)


def test_damaged_local_features_are_made_anew(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "test")
    first = local_features(tiny_backbone, data, cache=tmp_path).clone()
    (file,) = (tmp_path / "features").glob("*-local.npy")
    for broken in (b"", file.read_bytes()[:-300], b"not an array"):
        file.write_bytes(broken)
        assert torch.equal(local_features(tiny_backbone, data, cache=tmp_path), first)


def test_a_broken_pass_leaves_nothing_behind(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "test")

    def opened(i):
        if i == 17:
            raise KeyboardInterrupt
        return data.open_image(i)

    with pytest.raises(KeyboardInterrupt):
        local_features(
            tiny_backbone, replace(data, open_image=opened), cache=tmp_path, batch_size=5
        )
    assert list((tmp_path / "features").iterdir()) == []


def test_the_size_is_announced_and_what_does_not_fit_is_refused(
    tiny_backbone, drawn_data, tmp_path, monkeypatch, caplog
):
    data = load_dataset(drawn_data, "test")
    usage = shutil.disk_usage(tmp_path)._replace(free=24 * 5 * 16 * 2 - 1)
    with monkeypatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(RunFailed) as error:
            local_features(tiny_backbone, data, cache=tmp_path)
        assert "24 × 5 × 16 float16 numbers, 0.0 MiB, but" in str(error.value)
        assert list((tmp_path / "features").iterdir()) == []
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=24 * 5 * 16 * 2))
        local_features(tiny_backbone, data, cache=tmp_path)
    assert "24 × 5 × 16 float16 numbers, 0.0 MiB, go to the cache in" in caplog.text
