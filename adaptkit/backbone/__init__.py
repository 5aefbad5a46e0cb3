"""The frozen CLIP model, and every way to load it."""

from adaptkit.backbone.frozen_clip import FrozenCLIP

__all__ = ["FrozenCLIP"]
