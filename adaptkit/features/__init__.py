"""Methods whose gradient enters after the towers: they train on cached features."""

from adaptkit.features.zero_shot import ZeroShot, ZeroShotConfig

__all__ = ["ZeroShot", "ZeroShotConfig"]
