"""Learnt tensors as they are saved and loaded: of which type, and how large they may be."""

import torch
from torch import Tensor

# CLIP's features and what is learnt beside them are of the order of 1 to 100. Beyond this, float32 keeps less than a
# tenth of such numbers, and what is computed from them answers nonsense with great confidence.
LARGEST = 1e6


def check_dtype(name: str, given: Tensor, own: Tensor) -> None:
    """Refuse a tensor in the place of one of another kind: whole numbers or truth values for numbers, or the reverse.

    Raises:
        ValueError: names the tensor and both types.
    """
    if given.dtype != own.dtype and not (given.is_floating_point() and own.is_floating_point()):
        raise ValueError(f"{name} is {_word(given.dtype)}; expected {_word(own.dtype)}")


def check_learnt(name: str, tensor: Tensor) -> None:
    """Refuse numbers that no training ends with.

    Raises:
        ValueError: if one is not finite, or larger than a million.
    """
    if not tensor.numel() or not tensor.is_floating_point():
        return
    largest = float(tensor.detach().float().abs().amax())  # NaN stays NaN
    if not largest < float("inf"):
        raise ValueError(f"{name} is not finite, so every prediction would be nonsense")
    if largest > LARGEST:
        raise ValueError(f"{name} reaches {largest:g}; learnt tensors stay below {LARGEST:g}, so it is damaged")


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
