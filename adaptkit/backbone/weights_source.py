"""WeightsSource: the origin of a backbone's weights, so that an artefact can say how to load it again."""

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from adaptkit.towers.watch import Watch


@dataclass(frozen=True)
class WeightsSource:
    """The arguments of `load_backbone`, as they were given."""

    name: str
    pretrained: str | None = None  # A tag of open_clip, or "random".
    checkpoint: str | None = None  # Name of a local file, without its folder.
    image_size: tuple[int, int] | None = None  # Height and width in pixels, if not the model's own.

    def __str__(self) -> str:
        weights = self.pretrained or self.checkpoint
        size = "" if self.image_size is None else " at {} x {} pixels".format(*self.image_size)
        return f"{self.name} ({weights}){size}" if weights else f"{self.name}{size}"

    def as_call(self) -> str:
        """The Python call that loads this backbone; a local file appears by its file name alone."""
        pretrained = f", pretrained={self.pretrained!r}" if self.pretrained else ""
        checkpoint = f", checkpoint={self.checkpoint!r}" if self.checkpoint else ""
        image_size = f", image_size={self.image_size}" if self.image_size else ""
        return f'adaptkit.load_backbone("{self.name}"{pretrained}{checkpoint}{image_size})'


def hash_of_weights(model: nn.Module) -> str:
    """SHA-256 in hex over names, types, shapes and bytes of a model's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class WeightsHash:
    """`hash_of_weights` of a model, computed again when the weights have changed."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.watch: Watch | None = None
        self.kept = ""

    def __call__(self) -> str:
        if self.watch is None or self.watch.changed():
            self.watch, self.kept = Watch([self.model]), hash_of_weights(self.model)
        return self.kept


def check_weights(model: nn.Module, place: str) -> None:
    """Refuse weights and running statistics that are not finite, with which every feature would be NaN.

    CoCa's text decoder is left out: nothing here runs it, and open_clip leaves some of its weights without a value.

    Raises:
        ValueError: names the first such tensor.
    """
    statistics = [(name, buffer) for name, buffer in model.named_buffers() if ".running_" in name]  # masks have -inf
    for name, tensor in (*model.named_parameters(), *statistics):
        if name.startswith("text_decoder."):
            continue
        if tensor.is_floating_point() and tensor.device.type != "meta" and not tensor.isfinite().all():
            raise ValueError(f"{name} of {place} is not finite; the weights are damaged, get another copy of them")
