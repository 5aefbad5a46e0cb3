"""XBT: a new model searches the gallery of an old one: the map between their spaces, its losses and its files."""

from adaptkit.features.xbt.alignment import least_squares, procrustes, slerp, zero_padded
from adaptkit.features.xbt.compat import Compat, Space
from adaptkit.features.xbt.compat_files import load_compat, save_compat
from adaptkit.features.xbt.losses import pair_loss, perturbed, text_loss
from adaptkit.features.xbt.projection import Projection, start_projection

__all__ = [
    "Compat",
    "Projection",
    "Space",
    "least_squares",
    "load_compat",
    "pair_loss",
    "perturbed",
    "procrustes",
    "save_compat",
    "slerp",
    "start_projection",
    "text_loss",
    "zero_padded",
]
