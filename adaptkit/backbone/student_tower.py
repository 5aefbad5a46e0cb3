"""The image tower of a student: a model of timm and a linear layer to the width of its teacher's joint space."""

import re
from dataclasses import dataclass, replace

import timm
import torch
from open_clip.timm_model import TimmModel
from torch import nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.image_size import LARGEST
from adaptkit.options import near

LARGEST_WIDTH = 2**14  # of a joint space
TIMM_NAME = re.compile(r"[\w.]+", re.ASCII)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class StudentPlan:
    """What a student's image tower is made from, and what its images go through.

    Raises:
        ValueError: if timm has no such model, or a size is none.
    """

    timm_name: str
    image_size: int  # side in pixels
    embed_dim: int  # D, the width of the teacher's joint space
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bicubic"
    resize_mode: str = "squash"

    def __post_init__(self) -> None:
        if not TIMM_NAME.fullmatch(self.timm_name) or not timm.is_model(self.timm_name):
            nearest = near(self.timm_name, timm.list_models())
            hint = f"; near it are {', '.join(nearest)}" if nearest else ""
            raise ValueError(
                f"timm has no model {self.timm_name!r}{hint}; take a name of timm.list_models(), such as resnet18"
            )
        if not 0 < self.image_size <= LARGEST:
            raise ValueError(f"image_size={self.image_size}; expected a side in pixels, 1 to {LARGEST}")
        if not 0 < self.embed_dim <= LARGEST_WIDTH:
            raise ValueError(f"embed_dim={self.embed_dim}; expected the width of a joint space, 1 to {LARGEST_WIDTH}")
        if not all(deviation > 0 for deviation in self.std):
            raise ValueError(f"std={self.std}; expected deviations above 0")
        if self.interpolation not in ("bicubic", "bilinear") or self.resize_mode not in ("squash", "shortest"):
            raise ValueError(
                f"interpolation={self.interpolation!r}, resize_mode={self.resize_mode!r}; expected bicubic or "
                "bilinear, and squash or shortest"
            )


class StudentTower(TimmModel):
    """A timm model without its classifier and a linear layer to the teacher's width D: images -> features (B, D).

    Args:
        pretrained: start from timm's published weights, which timm fetches.
    """

    def __init__(self, plan: StudentPlan, pretrained: bool = False):
        try:
            super().__init__(
                plan.timm_name,
                plan.embed_dim,
                plan.image_size,
                pool="",
                proj="linear",
                proj_bias=True,
                pretrained=pretrained,
            )
            if hasattr(self.trunk, "set_input_size"):
                self.trunk.set_input_size((plan.image_size, plan.image_size))
            pooled = self._pooled_width(plan.image_size)
        except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"timm's {plan.timm_name} makes no image tower for images of {plan.image_size} pixels: {error}; take "
                "another size or model"
            ) from error
        if pooled != self.head.proj.in_features:  # Some models widen their features behind the pool.
            self.head.proj = nn.Linear(pooled, plan.embed_dim)
        self.plan = plan
        self.preprocess_cfg = {
            "size": (plan.image_size, plan.image_size),
            "mean": plan.mean,
            "std": plan.std,
            "interpolation": plan.interpolation,
            "resize_mode": plan.resize_mode,
        }

    @torch.no_grad()
    def _pooled_width(self, side: int) -> int:
        was_training = self.trunk.training
        pooled = self.trunk.eval()(torch.zeros(1, 3, side, side))
        self.trunk.train(was_training)
        if pooled.ndim != 2:
            raise ValueError(f"its features have shape {tuple(pooled.shape)}, expected (B, width)")
        return pooled.shape[1]


def plan_for(
    teacher: FrozenCLIP, timm_name: str, image_size: int | None = None, pretrained: bool = False
) -> StudentPlan:
    """The plan of a student in a teacher's space.

    Args:
        image_size: side in pixels; None takes the teacher's.
        pretrained: take mean and deviation of timm's published weights, in place of ImageNet's.

    Raises:
        ValueError: as `StudentPlan` does.
    """
    plan = StudentPlan(timm_name, image_size or teacher.preprocess_cfg.image_size[0], teacher.embed_dim)
    if not pretrained:
        return plan
    published = timm.models.get_pretrained_cfg(timm_name)
    if published is None or not published.has_weights:
        raise ValueError(f"timm has no published weights of {timm_name}; start from random ones, or name another model")
    (red, green, blue), (red_std, green_std, blue_std) = published.mean, published.std
    return replace(plan, mean=(red, green, blue), std=(red_std, green_std, blue_std))
