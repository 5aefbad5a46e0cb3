"""UniQA adapter: ordinal scores, such as the quality of an image, from graded prompts.

Zhou et al., "UniQA: Unified Vision-Language Pre-training for Image Quality and Aesthetic Assessment",
arXiv:2406.01069, the adapter on the frozen model. For an image feature v (D) as it is, and the unit text features
T_g (K, D) of a group g of K phrases from worst to best:
    v'    = n(v + A(v)),   A(v) = ReLU(W2 ReLU(W1 v))       W1 (D/2, D), W2 (D, D/2), without biases
    p_g   = softmax(exp(logit_scale) T_g v')                level probabilities (K)
    score = mean over g of sum_k p_gk a_k                   a = (1/K, 2/K, ..., 1) at the start
Learnt by the mean squared error of the score and the grade, brought to [0, 1]: W1, W2 and a, which all groups share.
Five phrases of quality are one group; with a file of phrases any ordered attribute is graded: ripeness, damage, age.

Departure: the paper's first part, the training of a CLIP on generated texts, is not here; its weights are a backbone.
Departure: images that are not preprocessed are graded by crops whose places are the same for every image, where the
    released code draws places anew each time; smaller images are enlarged to hold a crop.
Departure: released code may run the tower without positions, for images of any size; its configurations do not.
"""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.images import Images, one_by_one, opened
from adaptkit.contract.registry import register_head
from adaptkit.heads.graded_prompts import QUALITY, check_groups
from adaptkit.layers.crops import crop, random_places
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

FARTHEST = 1e6  # from 0, of a grade


@options
class UniQAAdapterConfig:
    prompt_groups: tuple[tuple[str, ...], ...] = option(
        QUALITY, "Groups of phrases, each from worst to best, all of the same length K."
    )
    values: tuple[float, ...] = option(
        (), "Value a of each level at the start, from worst to best; empty for 1/K, 2/K, ..., 1.", least=-1, most=2
    )
    learnt_values: Literal["free", "rising", "none"] = option(
        "free", "The values learn each by itself, as released, or so that they stay in order, or they stay as given."
    )
    adapter: bool = option(True, "The residual A stands in front of the levels; without it features are CLIP's own.")
    reduction: int = option(2, "The bottleneck of A is D / reduction wide.", least=1)
    up_scale: float = option(
        1.0, "Factor on the first W2: 1 as released, 0.01 to start near zero-shot scores.", above=0, most=1
    )
    pre_norm: bool = option(False, "Features are brought to unit length in front of A; the released code keeps them.")
    worst: float = option(0.0, "The grade that a score of 0 stands for, in your units.", least=-FARTHEST, most=FARTHEST)
    best: float = option(
        1.0,
        "The grade that a score of 1 stands for; below `worst` where less is better.",
        least=-FARTHEST,
        most=FARTHEST,
    )
    crops: int = option(
        10, "Crops of an image at its own resolution that an answer is the mean of; 0 grades it resized.", least=0
    )

    def __post_init__(self) -> None:
        check_groups(self.prompt_groups)
        levels = len(self.prompt_groups[0])
        if self.values and len(self.values) != levels:
            raise ValueError(f"values={self.values!r}; expected {levels}, one for each phrase of a group, or none")
        if self.learnt_values == "rising" and any(b <= a for a, b in zip(self.values, self.values[1:], strict=False)):
            raise ValueError(f'values={self.values!r} do not rise; order them, or set learnt_values to "free"')


def adapted_features(v: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """n(v + ReLU(W2 ReLU(W1 v))) of image features v (..., D), W1 (H, D) and W2 (D, H): unit rows (..., D)."""
    return F.normalize(v + F.relu(F.linear(F.relu(F.linear(v, down)), up)), dim=-1)


def level_probabilities(unit_features: Tensor, text_features: Tensor, scale: Tensor, groups: int) -> Tensor:
    """Unit image features (..., D) and text features (G * K, D), group by group -> probabilities (..., G, K)."""
    logits = scale * unit_features @ F.normalize(text_features, dim=-1).T  # (..., G * K)
    return logits.unflatten(-1, (groups, -1)).softmax(dim=-1)


def expected_score(probabilities: Tensor, values: Tensor) -> Tensor:
    """Level probabilities (..., G, K) and values (K) -> scores (...): expectations, averaged over the groups."""
    return (probabilities @ values).mean(dim=-1)


@register_head("uniqa_adapter", UniQAAdapterConfig, touches="after")
class UniQAAdapter(Head):
    """Frozen image features (B, D) against graded prompts; what it computes are level probabilities (B, G, K)."""

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, config: UniQAAdapterConfig):
        super().__init__(backbone)
        if config.worst == config.best:
            raise ValueError(f"worst and best are both {config.best}; give the two ends of your grades")
        self.config, self.groups = config, config.prompt_groups
        levels, width = len(self.groups[0]), backbone.embed_dim
        phrases = [phrase for group in self.groups for phrase in group]
        self.text = backbone.keep_text(partial(backbone.encode_text, phrases))
        if config.adapter:
            hidden = max(1, width // config.reduction)
            self.down, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
            with torch.no_grad():
                self.up.weight.mul_(config.up_scale)
        start = torch.tensor(config.values or [(level + 1) / levels for level in range(levels)])
        if config.learnt_values == "rising":  # a_k = a_1 + the sum of softplus(s_2 .. s_k)
            start = torch.cat([start[:1], start.diff().expm1().log()])
        self.raw_values = nn.Parameter(
            start.to(torch.get_default_dtype()), requires_grad=config.learnt_values != "none"
        )
        self.to(backbone.device)

    @property
    def values(self) -> Tensor:
        """Values a (K) of the levels."""
        if self.config.learnt_values != "rising":
            return self.raw_values
        return self.raw_values[0] + F.pad(F.softplus(self.raw_values[1:]).cumsum(dim=0), (1, 0))

    def outputs(self, x: Tensor) -> Tensor:
        """Frozen image features (..., D) -> level probabilities (..., G, K)."""
        with torch.autocast(x.device.type, enabled=False):
            v = at_least_fp32(x)
            v = F.normalize(v, dim=-1) if self.config.pre_norm else v
            weights = (self.down.weight.to(v), self.up.weight.to(v)) if self.config.adapter else None
            unit = F.normalize(v, dim=-1) if weights is None else adapted_features(v, *weights)
            return level_probabilities(unit, self.text().to(v), self.backbone.logit_scale.exp().to(v), len(self.groups))

    def scores(self, probabilities: Tensor) -> Tensor:
        """Level probabilities (..., G, K) -> scores (...), about 0 to 1."""
        return expected_score(probabilities, self.values.to(probabilities))

    def grades(self, x: Tensor) -> Tensor:
        """Frozen image features (..., D) -> grades (...) in the units of `worst` and `best`."""
        return self.config.worst + (self.config.best - self.config.worst) * self.scores(self.outputs(x))

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of the scores of features (B, D), given grades (B,) or (B, 1) in your units."""
        wanted = (targets - self.config.worst) / (self.config.best - self.config.worst)
        return F.mse_loss(self.scores(self.outputs(x)), wanted.to(x.device).reshape(len(x)))

    def described(self, outputs: Tensor) -> list[Answer]:
        """Of each image its grade, and of each group its own grade and the probability of every phrase."""
        span = self.config.best - self.config.worst
        per_group = self.config.worst + span * (outputs @ self.values.to(outputs))  # (B, G)
        return [
            {
                "grade": float(graded.mean()),
                "groups": [
                    {"grade": float(grade), "levels": dict(zip(phrases, row.tolist(), strict=True))}
                    for grade, phrases, row in zip(graded, self.groups, rows, strict=True)
                ],
            }
            for graded, rows in zip(per_group, outputs, strict=True)
        ]

    @torch.no_grad()
    def answers(self, images: Images, batch_size: int = 64) -> list[Answer]:
        """What the head says of images of any kind: over crops, of those that are not preprocessed yet.

        Resizing changes how sharp an image is, so crops are cut at the image's own resolution.
        """
        are_preprocessed = isinstance(images, Tensor) and images.is_floating_point()
        if are_preprocessed or not self.config.crops:
            return super().answers(images, batch_size)
        views = (self.views(opened(self, image)) for image in one_by_one(images))
        return [
            answer
            for own in views
            for answer in self.described(
                torch.cat([self(part) for part in own.split(batch_size)]).mean(0, keepdim=True)
            )
        ]

    def views(self, image: Image.Image | Tensor) -> Tensor:
        """The crops of a picture, preprocessed, or one preprocessed image: (V, 3, H, W)."""
        if isinstance(image, Tensor):
            return image[None].to(self.device)
        size = self.backbone.preprocess_cfg.image_size
        places = random_places(self.config.crops, torch.Generator().manual_seed(0))
        return torch.stack([self.backbone.preprocess(crop(image, size, place)) for place in places]).to(self.device)
