"""Training-free ways across two models, fitted on training pairs; validation pairs choose the weight of SLERP."""

import torch
from torch import Tensor

from adaptkit.features.xbt import least_squares, procrustes, slerp
from adaptkit.features.xbt.alignment import unit
from trainers.evaluation.upgrade import Rows, cross_scores

WEIGHTS = tuple(place / 10 for place in range(11))  # of SLERP, from the old query to the mapped new one
FITTED_ON = ("texts", "images", "both")
MAPS = {"Procrustes": procrustes, "least squares": least_squares}


def baseline_ways(
    old: dict[str, Rows], new: dict[str, Rows], val_image_of_text: Tensor
) -> tuple[dict[str, Rows], dict[str, float]]:
    """Queries of the test pairs in the old space by every training-free way, and the weights of SLERP.

    Args:
        old: features of the old model by part: train, val and test.
        new: of the new model.
        val_image_of_text: (M,) int64, the image that each validation caption describes.

    Returns:
        Name of the way -> queries; name of the way with SLERP -> weight of the mapped new query.
    """
    ways, weights = {}, {}
    for kind, fit in MAPS.items():
        for fitted_on in FITTED_ON:
            matrix = fit(_fitted(new["train"], fitted_on), _fitted(old["train"], fitted_on))
            ways[f"{kind}, {fitted_on}"] = through(new["test"], matrix)
            if kind == "Procrustes":
                name = f"SLERP with Procrustes, {fitted_on}"
                weights[name] = slerp_weight(old["val"], through(new["val"], matrix), val_image_of_text)
                ways[name] = between(old["test"], through(new["test"], matrix), weights[name])
    return ways, weights


def through(rows: Rows, matrix: Tensor) -> Rows:
    """Features through a linear map (d_n, d_o)."""
    return Rows(unit(rows.images) @ matrix, unit(rows.texts) @ matrix)


def between(old: Rows, mapped: Rows, weight: float) -> Rows:
    """Queries between the old ones and the mapped new ones on the sphere."""
    return Rows(slerp(old.images, mapped.images, weight), slerp(old.texts, mapped.texts, weight))


def slerp_weight(old: Rows, mapped: Rows, image_of_text: Tensor) -> float:
    """The weight of the mapped new query with the most recall in the old gallery; of equal ones the first."""
    return max(WEIGHTS, key=lambda weight: cross_scores(between(old, mapped, weight), old, image_of_text).rsum)


def _fitted(rows: Rows, fitted_on: str) -> Tensor:
    parts = {"texts": [rows.texts], "images": [rows.images], "both": [rows.texts, rows.images]}[fitted_on]
    return torch.cat([unit(part) for part in parts])
