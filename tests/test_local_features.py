"""Local features against their formulas, written out position by position.

Every reference takes the last map or tokens from a hook and goes on in plain loops.
"""

import math

import open_clip
import pytest
import torch

from ccr_diag.backbone import load_backbone
from ccr_diag.errors import BadConfig
from ccr_diag.local_features import encode_positions

TEXT = {"context_length": 8, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 48, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
TIMM = {"image_size": 64, "timm_model_name": "resnet10t", "timm_pool": "avg"}


def tower(**vision):
    """A random image tower in which every part counts."""
    torch.manual_seed(0)
    visual = open_clip.CLIP(16, vision, TEXT).visual.eval().requires_grad_(False)
    for parameter in visual.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return visual


def images(size, n=2):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def encoded(visual, size, part):
    """Global and local features, and what ``part`` of the tower gave on the way to them."""
    kept = []
    handle = part.register_forward_hook(lambda _m, _i, output: kept.append(output))
    pooled, local = encode_positions(visual, images(size))
    handle.remove()
    assert torch.equal(pooled, visual(images(size)))
    return pooled, local, kept[0]


@pytest.mark.parametrize("kind", ["tok", "avg"])
def test_vit_normalises_and_projects_each_patch(kind):
    visual = tower(**VIT, pool_type=kind)
    _, local, tokens = encoded(visual, 48, visual.transformer.resblocks[-1])
    assert local.shape == (2, 9, 16)
    norm = visual.ln_post
    for image in range(2):
        for patch in range(9):
            x = tokens[image, 1 + patch]
            centred = x - x.mean()
            unit = centred / math.sqrt(float((centred**2).mean()) + norm.eps)
            expected = (unit * norm.weight + norm.bias) @ visual.proj
            torch.testing.assert_close(local[image, patch], expected, rtol=1e-4, atol=1e-5)


def test_resnet_gives_each_position_the_value_that_attention_would_take_from_it():
    visual = tower(**RESNET)
    _, local, feature_map = encoded(visual, 64, visual.layer4)
    assert local.shape == (2, 4, 16)
    pool = visual.attnpool
    for image in range(2):
        for row in range(2):
            for column in range(2):
                position = 2 * row + column
                x = feature_map[image, :, row, column] + pool.positional_embedding[1 + position]
                value = pool.v_proj.weight @ x + pool.v_proj.bias
                expected = pool.c_proj.weight @ value + pool.c_proj.bias
                torch.testing.assert_close(local[image, position], expected, rtol=1e-4, atol=1e-5)


def test_attention_that_sees_all_alike_averages_the_local_features_and_that_of_the_mean():
    visual = tower(**RESNET)
    pool = visual.attnpool
    pool.q_proj.weight.zero_()
    pool.q_proj.bias.zero_()
    pooled, local, feature_map = encoded(visual, 64, visual.layer4)
    mean = feature_map.mean(dim=(2, 3)) + pool.positional_embedding[0]
    of_mean = pool.c_proj(pool.v_proj(mean))
    torch.testing.assert_close((local.sum(dim=1) + of_mean) / 5, pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "vision"),
    [(48, VIT | {"pool_type": "avg"}), (64, TIMM | {"timm_proj": "linear"})],
    ids=["vit", "timm"],
)
def test_the_mean_of_local_features_is_the_global_one_where_pool_and_head_are_linear(size, vision):
    with torch.no_grad():
        pooled, local = encode_positions(tower(**vision), images(size))
    torch.testing.assert_close(local.mean(dim=1), pooled, rtol=1e-4, atol=1e-5)
    assert (local[:, 0] - pooled).abs().max() > 0.1


def test_the_embedded_towers_local_features_average_to_its_global_one():
    visual = load_backbone(device="cpu").model.visual
    pooled, local, feature_map = encoded(visual, 64, visual.trunk.layer4)
    assert local.shape == (2, 4, 128)
    torch.testing.assert_close(local.mean(dim=1), pooled, rtol=1e-4, atol=1e-5)
    expected = visual.head.proj.weight @ feature_map[1, :, 0, 1]
    torch.testing.assert_close(local[1, 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_timm_gives_each_position_what_an_image_of_it_alone_would_have(head):
    visual = tower(**TIMM, timm_proj=head)
    _, local, feature_map = encoded(visual, 64, visual.trunk.layer4)
    for row in range(2):
        for column in range(2):
            same = feature_map[:, :, row, column, None, None].expand_as(feature_map)
            expected = visual.head(visual.trunk.forward_head(same))
            torch.testing.assert_close(local[:, 2 * row + column], expected, rtol=1e-4, atol=1e-5)


def test_timm_with_a_class_token_puts_each_patch_in_its_place():
    vit = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token"}
    visual = tower(**vit, timm_proj="linear")
    _, local, tokens = encoded(visual, 224, visual.trunk.norm)
    assert local.shape == (2, 196, 16)
    for patch in (0, 1, 195):
        expected = tokens[:, 1 + patch] @ visual.head.proj.weight.T
        torch.testing.assert_close(local[:, patch], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "vision", "kind"),
    [
        (48, VIT | {"attentional_pool": True, "attn_pooler_heads": 2}, "VisionTransformer"),
        (224, TIMM | {"image_size": 224, "timm_pool": "abs_attn", "timm_proj": ""}, "ResNet"),
        (64, TIMM | {"timm_pool": "max", "timm_proj": "linear"}, "ResNet"),
    ],
    ids=["attentional", "abs_attn", "max"],
)
def test_towers_without_local_features_say_so(size, vision, kind):
    with pytest.raises(BadConfig) as error, torch.no_grad():
        encode_positions(tower(**vision), images(size))
    assert str(error.value) == (
        "Local features need an image tower that projects its positions one by one (a ViT with a "
        "class token or an average, a ResNet of CLIP's own, a timm tower with an averaged map or a "
        f"class token), but the model's, a {kind}, does not; choose another model, or a framework "
        "that scores whole images."
    )


def test_a_tower_of_another_library_says_so():
    with pytest.raises(BadConfig, match="but the model's, a Flatten, does not"):
        encode_positions(torch.nn.Flatten(), images(8))
