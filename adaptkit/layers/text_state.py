"""Texts among learnt tensors, so that a file of words travels with an adapter: UTF-8 bytes as a tensor."""

import json
from collections.abc import Sequence

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


def names_as_tensor(names: Sequence[str]) -> Tensor:
    """Names -> the UTF-8 bytes of a list of them (N,) uint8."""
    return as_tensor(json.dumps(list(names)))


def read_names(tensor: Tensor, what: str) -> tuple[str, ...]:
    """The names in a tensor of `names_as_tensor`; the error calls it `what`.

    Raises:
        ValueError: if it holds no list of names.
    """
    try:
        names = json.loads(as_text(tensor))
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what} is no list of names")
    return tuple(names)
