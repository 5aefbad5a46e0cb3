"""What a run ran on, for its record."""

import hashlib
import platform
from pathlib import Path

import open_clip
import torch

import adaptkit
from trainers.config.settings import BackboneConfig

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def versions() -> dict[str, str]:
    """Of what computes the results."""
    return {
        "adaptkit": adaptkit.__version__,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "python": platform.python_version(),
    }


def hardware(device: torch.device) -> dict[str, str]:
    """The device by its maker's name, and the threads of the CPU."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device)}
    return {"device": _cpu_name(), "threads": str(torch.get_num_threads())}


def weights_source(named: BackboneConfig) -> str:
    """The tag of the weights; "own" where the name brings them, "file" for a file that is not OpenAI's release."""
    if named.checkpoint is None:
        return named.pretrained or "own"
    url = str(open_clip.get_pretrained_cfg(named.name, "openai").get("url", ""))
    digest = hashlib.sha256(Path(named.checkpoint).expanduser().read_bytes()).hexdigest()
    return "openai" if digest in url else "file"  # the published address holds the file's SHA-256


def peak_memory_mb(device: torch.device) -> float | None:
    """Of the CUDA device since its statistics were reset; on the CPU of the process so far, where the system tells."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if resource is None:
        return None
    unit = 2**20 if platform.system() == "Darwin" else 2**10  # ru_maxrss counts bytes there and kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
