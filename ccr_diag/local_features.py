"""Local features: what an image tower says of each position, in the space of the texts.

    ViT               lⱼ = LN(xⱼ)·P              x: last block's patch tokens, LN, P: as for the
                                                 token that becomes the global feature
    ModifiedResNet    lⱼ = C·V·(xⱼ + pⱼ)         x: layer4's map, p: positional embedding, V, C:
                                                 value and output projection of the attention pool
    timm              lⱼ = head(pool({xⱼ}))      x: last map or tokens, as if there were no other
                                                 position

A pool that averages, followed by a linear projection, has the mean of the lⱼ as its global feature:
exactly so for ``pool_type`` ``avg`` of a ViT that normalises before it, and for timm towers with an
average pool and a linear head, as the embedded one. The attention pool's value of every position,
projected, is lⱼ; its global feature mixes these values and that of the mean xⱼ, a head at a time.

The positional embedding belongs to those values, so it is kept, as DualCoOp's public code does;
TaI-DPT's leaves it out.

Source: Zhou et al., 2022 (arXiv:2112.01071), Sun et al., 2022 (arXiv:2206.09541).
"""

from typing import Any

from jaxtyping import Float
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from ccr_diag.errors import BadConfig

Features = tuple[Float[Tensor, "images dim"], Float[Tensor, "images positions dim"]]


def encode_positions(tower: nn.Module, images: Float[Tensor, "images 3 height width"]) -> Features:
    """Global and local features, before they are made unit; positions row by row.

    Args:
        tower: open_clip's image tower.
        images: preprocessed.

    Raises:
        BadConfig: a tower that does not project its positions one by one.
    """
    if isinstance(tower, VisionTransformer) and tower.attn_pool is None:
        return _of_vit(tower, images)
    if isinstance(tower, ModifiedResNet):
        return _of_resnet(tower, images)
    if isinstance(tower, TimmModel):
        return _of_timm(tower, images)
    raise _without_positions(tower)


def _of_vit(tower: Any, images: Float[Tensor, "images 3 height width"]) -> Features:
    """Patch tokens, normalised and projected."""
    found = tower.forward_intermediates(
        images, indices=1, normalize_intermediates=True, output_fmt="NLC"
    )
    (tokens,) = found["image_intermediates"]
    return found["image_features"], tokens if tower.proj is None else tokens @ tower.proj


def _of_resnet(tower: Any, images: Float[Tensor, "images 3 height width"]) -> Features:
    """Values of the attention pool, projected."""
    found = tower.forward_intermediates(images, indices=1)
    (last,) = found["image_intermediates"]
    pool = tower.attnpool
    x = _positions(last) + pool.positional_embedding[1:].to(last.dtype)  # the first: of the mean
    return found["image_features"], pool.c_proj(pool.v_proj(x))


def _of_timm(tower: Any, images: Float[Tensor, "images 3 height width"]) -> Features:
    """Each position alone through pool and head; all of them together give the global feature."""
    trunk = tower.trunk
    last = trunk.forward_features(images)
    if _is_averaged_map(tower, last):
        x = _positions(last)
        alone = x.flatten(0, 1)[:, :, None, None]
    elif last.ndim == 3 and getattr(trunk, "global_pool", None) == "token":
        x = last[:, trunk.num_prefix_tokens :]
        alone = x.flatten(0, 1)[:, None]  # takes the place of the class token
    else:
        raise _without_positions(tower)
    pooled, local = (tower.head(trunk.forward_head(each)) for each in (last, alone))
    return pooled, local.unflatten(0, x.shape[:2])


def _positions(feature_map: Float[Tensor, "images dim rows columns"]) -> Float[Tensor, "..."]:
    """(images, positions, dim)."""
    return feature_map.flatten(2).transpose(1, 2)


def _is_averaged_map(tower: Any, last: Float[Tensor, "images ..."]) -> bool:
    """Whether the trunk ends in a map, channels first, of which the mean is taken."""
    averages = any(getattr(part, "pool_type", None) == "avg" for part in tower.trunk.modules())
    return averages and last.ndim == 4 and last.shape[1] == tower.trunk.num_features


def _without_positions(tower: nn.Module) -> BadConfig:
    """What to say of any other tower."""
    kind = type(getattr(tower, "trunk", tower)).__name__
    return BadConfig(
        "Local features need an image tower that projects its positions one by one (a ViT with a "
        "class token or an average, a ResNet of CLIP's own, a timm tower with an averaged map or a "
        f"class token), but the model's, a {kind}, does not; choose another model, or a framework "
        "that scores whole images."
    )
