"""A file of weights: which tensors it stores, read without running what a pickle may hold."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ccr_diag.errors import BadConfig


def stored_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a weights file; nothing for big_vision's ``.npz``.

    Raises:
        BadConfig: a file that cannot be read, or holds no tensors.
    """
    if weights.suffix in (".npz", ".npy"):
        return {}  # open_clip converts these tensor by tensor
    try:
        if weights.suffix == ".safetensors":
            with safe_open(weights, "pt") as file:
                found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        else:
            found = {key: tuple(value.shape) for key, value in _read(weights).items()}
    except (Exception, SafetensorError) as error:  # whatever a damaged file leads torch to
        raise BadConfig(
            "Weights must be safetensors, a state dict or a TorchScript archive, but "
            f"{str(weights)!r} cannot be read so ({_reason(error)}); get the file again, or save "
            "the state dict alone."
        ) from error
    if not found:
        raise BadConfig(
            f"Weights must have tensors, but {str(weights)!r} has none; get the file again."
        )
    return {key.removeprefix("module."): shape for key, shape in found.items()}


def _read(weights: Path) -> Mapping[str, torch.Tensor]:
    """A state dict, without running what a pickle may hold."""
    if is_torchscript(weights):
        return dict(_archive(weights).state_dict())
    stored = torch.load(
        weights, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(weights)
    )
    return dict(stored.get("state_dict", stored))


def is_torchscript(weights: Path) -> bool:
    """Whether a weights file is an archive such as OpenAI published."""
    if weights.suffix == ".safetensors" or not zipfile.is_zipfile(weights):
        return False
    with zipfile.ZipFile(weights) as archive:
        if not any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return False
    # By torch's own reader, which runs no pickle: other archives fail here.
    _archive(weights)
    return True


def _archive(weights: Path) -> Any:
    """A TorchScript archive; torch warns that it will not make others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(weights, map_location="cpu")  # type: ignore[no-untyped-call]


def _reason(error: BaseException) -> str:
    """Why a file cannot be read; torch's own advice is to run what a pickle holds."""
    if isinstance(error, UnpicklingError):
        return "a pickle of other things than tensors, which is never run"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
