"""Activations of images or texts in the codebook of a method with finite discrete tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.wrapper import MethodWrapper
from adaptkit.wrappers.fdt.wrapper import FDTWrapper


@torch.no_grad()
def ground(method: AdaptedCLIP, x: Tensor | Sequence[str]) -> Tensor:
    """Activations (N, codes) of N preprocessed images (N, 3, H, W), or of N texts, read as they are.

    Sparsemax's rows sum to 1 and are mostly zeros. Column j is the token with code j of the codebook.

    Raises:
        TypeError: if the method has no codebook.
    """
    head = with_codebook(method)
    return head.image_activations(x) if isinstance(x, Tensor) else head.text_activations(x)


def with_codebook(method: AdaptedCLIP) -> FDTWrapper:
    """The method itself, or the first one inside it that has a codebook.

    Raises:
        TypeError: if neither the method nor an inner one has a codebook.
    """
    inside: AdaptedCLIP = method
    while not isinstance(inside, FDTWrapper):
        if not isinstance(inside, MethodWrapper):
            raise TypeError(f"{type(method).__name__} has no finite discrete tokens; make the method with wrap=['fdt']")
        inside = inside.inner
    return inside
