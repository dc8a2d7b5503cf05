from dataclasses import replace

import numpy as np
import torch

from ccr_diag.data import load_dataset
from ccr_diag.features import image_features


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
