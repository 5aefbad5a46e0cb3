"""Devices that towers run on."""

import torch


def choose_device(asked: str | torch.device) -> torch.device:
    """Parse a device name; "auto" is the first CUDA device, or the CPU without one.

    Raises:
        ValueError: if towers do not run on it, or the machine has no such CUDA device.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = str(asked)
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise ValueError(f"device is {name!r}; use auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch {torch.__version__} sees no CUDA device; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ValueError(f"device is {name!r}, and the last one here is cuda:{last}; use cuda:0 to cuda:{last}")
    return device
