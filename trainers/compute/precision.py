"""Choose device, precision and threads. Towers may run in bf16; learnt tensors and their optimiser stay in fp32."""

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


def choose_device(asked: str) -> torch.device:
    """Parse a device name; "auto" is the first CUDA device, or the CPU without one.

    Raises:
        ValueError: if towers do not run on it, or the machine has no such CUDA device.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise ValueError(f"device is {asked!r}; use auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {asked!r}, but torch {torch.__version__} sees no CUDA device; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ValueError(f"device is {asked!r}, and the last one here is cuda:{last}; use cuda:0 to cuda:{last}")
    return device


SMALL_BACKBONE = 20_000_000  # parameters; in a smaller one, threads wait for each other longer than they compute


def choose_threads(asked: int, parameters: int) -> int:
    """Number of CPU threads: as asked, else one for a small backbone and torch's own number for a large one.

    A step of a small backbone is hundreds of products that take microseconds. Two threads on two quiet cores gain
    little there, and on busy ones a thread that has to wait costs a hundred times the product.
    """
    if asked:
        return asked
    return 1 if parameters < SMALL_BACKBONE else torch.get_num_threads()
