"""Choose precision and threads. Towers may run in bf16; learnt tensors and their optimiser stay in fp32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def choose_precision(asked: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """Resolve "auto" to bf16 on CUDA and fp32 on the CPU; another choice is returned as it is."""
    if asked != "auto":
        return asked
    return "bf16" if device.type == "cuda" else "fp32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products run in the given precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


SMALL_BACKBONE = 20_000_000  # parameters; in a smaller one, threads wait for each other longer than they compute


def choose_threads(asked: int, parameters: int) -> int:
    """Number of CPU threads: as asked, else one for a small backbone and torch's own number for a large one.

    A step of a small backbone is hundreds of products that take microseconds. Two threads on two quiet cores gain
    little there, and on busy ones a thread that has to wait costs a hundred times the product.
    """
    if asked:
        return asked
    return 1 if parameters < SMALL_BACKBONE else torch.get_num_threads()
