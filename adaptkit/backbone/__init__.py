"""The frozen model, and every way in which it is loaded."""

from adaptkit.backbone.frozen_clip import FrozenCLIP

__all__ = ["FrozenCLIP"]
