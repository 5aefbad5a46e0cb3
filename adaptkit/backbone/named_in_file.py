"""Backbones that a file names, such as an adapter or a run's record: less is done for a file than for its user.

A user may name any folder or hub repository. A file may come from anybody, so it may name no folder, and a hub
repository only where the user has said so or has fetched it before.
"""

from pathlib import Path

import torch

from adaptkit.backbone.foreign_config import CONFIG_FILE
from adaptkit.backbone.foreign_model import FOLDER_PREFIX, is_foreign
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.hub_files import is_cached
from adaptkit.backbone.loading import load_backbone
from adaptkit.backbone.weights_source import WeightsSource

MAX_SIDE = 4096  # Pixels; positions are made for as many patches as fit in.


class UntrustedBackboneError(ValueError):
    """A file names a backbone that is not loaded on a file's word; the message says how to load it."""


def load_named_in_file(
    source: WeightsSource,
    place: str,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    trust_hub: bool = False,
) -> FrozenCLIP:
    """Load the backbone that a file names.

    Args:
        source: what the file says.
        place: the file, for errors.
        checkpoint: the user's own file of weights.
        trust_hub: whether the user agrees to fetch a hub repository; without it the hub's cache has to have it.

    Raises:
        UntrustedBackboneError: if the file names a folder, or a hub repository that nobody has agreed to.
        ValueError: as `load_backbone` does.
        FileNotFoundError: as `load_backbone` does.
    """
    if source.name.startswith(FOLDER_PREFIX):
        raise UntrustedBackboneError(
            f"{place} names the folder {source.name!r} as its backbone, and folders are not opened on a file's word; "
            "if it is yours, load it with load_backbone and give it as backbone (--backbone)"
        )
    if is_foreign(source.name) and not trust_hub and not is_cached(source.name, CONFIG_FILE):
        raise UntrustedBackboneError(
            f"{place} names the hub repository {source.name!r} as its backbone, which was never fetched here; if you "
            "trust it, say so with trust_hub=True (--trust-hub)"
        )
    if source.image_size is not None and not all(0 < side <= MAX_SIDE for side in source.image_size):
        raise UntrustedBackboneError(
            f"{place} asks for images of {source.image_size} pixels; up to {MAX_SIDE} are taken"
        )
    pretrained = source.pretrained if checkpoint is None else None
    return load_backbone(
        source.name,
        pretrained,
        checkpoint,
        device=device,
        dtype=dtype,
        image_size=source.image_size,
        cached_only=not trust_hub,
    )
