"""The software and hardware of a run, for its record."""

import hashlib
import platform
from pathlib import Path

import open_clip
import torch

import adaptkit
from adaptkit.regular_file import open_regular
from trainers.config.settings import BackboneConfig

try:
    import resource
except ImportError:  # Windows has no `resource`.
    resource = None  # type: ignore[assignment]


def versions() -> dict[str, str]:
    """Versions of the software that computes the results."""
    return {
        "adaptkit": adaptkit.__version__,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "python": platform.python_version(),
    }


def hardware(device: torch.device) -> dict[str, str]:
    """Name of the device, and the CPU's number of threads."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device)}
    return {"device": _cpu_name(), "threads": str(torch.get_num_threads())}


def weights_source(named: BackboneConfig) -> str:
    """The tag of the weights; "own" if the name implies them, "file" for a file that is not OpenAI's release."""
    if named.checkpoint is None:
        return named.pretrained or "own"
    url = str(open_clip.get_pretrained_cfg(named.name, "openai").get("url", ""))
    with open_regular(named.checkpoint, "checkpoint") as file:
        digest = hashlib.sha256()
        for part in iter(lambda: file.read(2**20), b""):
            digest.update(part)
    return "openai" if digest.hexdigest() in url else "file"  # The published address holds the file's SHA-256.


def reset_peak_memory(device: torch.device) -> None:
    """Let the CUDA device's peak begin here; that of a CPU process cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float | None:
    """Peak memory in MiB, of the CUDA device since its reset or of the CPU process; None if the system gives none."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if resource is None:
        return None
    unit = 2**20 if platform.system() == "Darwin" else 2**10  # ru_maxrss counts bytes on macOS and kilobytes elsewhere.
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
