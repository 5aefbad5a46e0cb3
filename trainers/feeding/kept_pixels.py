"""A memory of decoded pixels: methods that train on images show the same few images again, run after run."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

BUDGET = 256 * 2**20  # bytes; holds every image of the embedded suite at 48 pixels, or 400 images at 224


class KeptPixels:
    """Tensors by key, kept in memory up to a budget of bytes; the least recently used tensor is dropped first."""

    def __init__(self, budget: int = BUDGET):
        self.budget = budget
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, decode: Callable[[], Tensor]) -> Tensor:
        """Return the key's tensor, decoding it if it is not kept; the caller must not write to it."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        pixels = decode()
        self._kept[key] = pixels
        self._bytes += pixels.nbytes
        while self._bytes > self.budget:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels
