"""Seeds for everything random in a run, derived from the run's identity, so that no generator is shared."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(*parts: str | int) -> int:
    """A 63-bit seed that is a function of the parts and their order, equal on every machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators of the CPU and the device inside the block, and restore their states afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


class RandomNumbers:
    """The random numbers of one run, which goes on with them wherever it stopped, whatever others drew meanwhile."""

    def __init__(self, seed: int, device: torch.device):
        self.device = device
        with seeded(seed, device):
            self._keep()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside the block torch's generators are this run's; afterwards they are as before."""
        with torch.random.fork_rng([] if self._on_device is None else [self.device]):
            torch.set_rng_state(self._on_cpu)
            if self._on_device is not None:
                torch.cuda.set_rng_state(self._on_device, self.device)
            yield
            self._keep()

    def _keep(self) -> None:
        self._on_cpu = torch.get_rng_state()
        self._on_device = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
