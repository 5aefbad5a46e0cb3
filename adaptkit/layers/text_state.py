"""Texts among learnt tensors, so that a file of words travels with an adapter: UTF-8 bytes as a tensor."""

import torch
from torch import Tensor


def as_tensor(text: str) -> Tensor:
    """A text -> its UTF-8 bytes (N,) uint8."""
    return torch.tensor(list(text.encode("utf-8")), dtype=torch.uint8)


def as_text(tensor: Tensor) -> str:
    """UTF-8 bytes (N,) uint8 -> their text.

    Raises:
        ValueError: if they are none.
    """
    if tensor.dtype != torch.uint8 or tensor.ndim != 1:
        raise ValueError(f"a text is kept as bytes (N,), got {tensor.dtype} {tuple(tensor.shape)}")
    try:
        return bytes(tensor.tolist()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"bytes that are kept as a text are no UTF-8: {error}") from None
