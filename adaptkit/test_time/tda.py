"""TDA: a stream of test images fills two caches of their own features, which correct the logits of later ones.

Karmanov et al., "Efficient Test-Time Adaptation of Vision-Language Models", arXiv:2403.18293. An image has a unit
feature f, logits l, probabilities p, their entropy H in nats, and the class y of the largest logit:
    positive cache of y: (f, H) is kept among the three of least H
    negative cache of y: (f, H, p) is kept among the two of least H, if 0.2 < H / log2(C) < 0.5
    logits = l + alpha  sum over positive items i of  exp(-beta  (1 - f f_i)) onehot(y_i)
               - alpha' sum over negative items i of  exp(-beta' (1 - f f_i)) [0.03 < p_i < 1]
There is no gradient and no label. An image is kept before it is scored, so its own feature counts with affinity 1. In
several views, f, l and p are means over the tenth of the views of least entropy; f is not normalised again.

The caches are tensors of fixed shapes for all classes, so that an image costs three matrix-vector products and
no loop over classes; a free place has infinite entropy.

Departure: one alpha and beta for all data sets. Those of the released code differ by data set and were, as far as its
repository shows, chosen on test images; they come with SELECTION: published (configs/methods/tda.yaml).
Departure: of fewer than ten views one is kept, where the released code keeps none and fails.
Departure: caches are in 32 bits or more; the released function builds one in 16 bits and fails on other features.
Kept as released: the entropy is in nats and its bound, log2(C), in bits.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.test_views import TestViews
from adaptkit.contract.test_time import Memory, Online, Seen, register_test_time
from adaptkit.contract.wrapper import MakeInner
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options
from adaptkit.test_time.entropy import entropy_of_mean, kept_views

Cache = Literal["positive", "negative"]


@options
class TDAConfig:
    alpha: float = option(2.0, "Weight of the positive cache.", least=0)
    beta: float = option(5.0, "How fast its items count less with their distance.", least=0)
    positive_capacity: int = option(3, "Items of a class in the positive cache; 0: no such cache.", least=0)
    negative_alpha: float = option(0.117, "Weight of the negative cache.", least=0)
    negative_beta: float = option(1.0, "How fast its items count less with their distance.", least=0)
    negative_capacity: int = option(2, "Items of a class in the negative cache; 0: no such cache.", least=0)
    least_entropy: float = option(0.2, "Nats over log2(C), above which an image may be a negative item.", least=0)
    most_entropy: float = option(0.5, "Nats over log2(C), below which an image may be a negative item.", least=0)
    least_probability: float = option(
        0.03, "Of a class for an item, above which the item speaks against it.", least=0, most=1
    )
    most_probability: float = option(
        1.0, "Of a class for an item, below which the item speaks against it.", least=0, most=1
    )
    n_views: int = option(1, "Views of each image; 64 for the paper's variants of ImageNet.", least=1)
    augmix: bool = option(True, "Whether the crops among several views go through AugMix.")
    selection_p: float = option(0.1, "Share of the views that is kept, those of least entropy.", above=0, most=1)
    view_seed: int = option(0, "Seed of the random crops.", least=0)


@register_test_time("tda", TDAConfig)
class TDA(Online):
    """Two caches of a stream around a method, whose logits they correct."""

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: TDAConfig):
        for kind in ("entropy", "probability"):
            least, most = getattr(config, f"least_{kind}"), getattr(config, f"most_{kind}")
            if least >= most:
                raise ValueError(
                    f"least_{kind}={least} and most_{kind}={most} leave no room between them; lower the first or "
                    "raise the second, or set negative_capacity=0 for no negative cache"
                )
        super().__init__(backbone, make_inner(backbone))
        self.config = config
        self.test_views = TestViews(config.n_views, config.augmix, config.view_seed)

    def empty_memory(self) -> Memory:
        dtype = torch.promote_types(self.backbone.dtype, torch.float32)
        return empty_caches(self.config, len(self.classes), self.backbone.embed_dim, dtype, self.device)

    def look(self, memory: Memory, seen: Seen) -> Tensor:
        """One image in views (1, V, ...) -> corrected logits (C,), of caches that hold the image already if they may.

        The correction is a constant to a gradient: what the caches hold does not change by what is learnt.
        """
        image = mean_of_kept_views(seen.features[0], seen.logits[0], self.config.selection_p)
        with torch.no_grad(), torch.autocast(image.feature.device.type, enabled=False):
            remember(memory, image, self.config)
            corrected_by = correction(memory, image.feature, self.config)
        return image.logits + corrected_by


@dataclass(frozen=True)
class ViewedImage:
    """Means over the views of an image on which the method inside is most sure, in 32 bits or more."""

    feature: Tensor  # (D,), of unit length only where there is one view
    logits: Tensor  # (C,)
    probabilities: Tensor  # (C,)
    entropy: Tensor  # scalar, in nats, of the mean probabilities


def mean_of_kept_views(features: Tensor, logits: Tensor, share: float) -> ViewedImage:
    """Unit features (V, D) and logits (V, C) of an image's views -> their means over the share of least entropy."""
    kept = kept_views(logits, share)
    features, logits = at_least_fp32(features[kept]), at_least_fp32(logits[kept])
    return ViewedImage(
        features.mean(dim=0), logits.mean(dim=0), logits.softmax(dim=-1).mean(dim=0), entropy_of_mean(logits)
    )


def empty_caches(
    config: TDAConfig,
    n_classes: int,
    dim: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Memory:
    """Both caches without an item: tensors by name, (C, capacity, ...), and how many images were seen.

    The places of a class are in the order of their entropies, free ones last. `images` are numbers in the stream,
    from 0; `masks` (C, capacity, C) are 1 for the classes that an item speaks against.
    """
    memory: Memory = {"images_seen": torch.zeros((), dtype=torch.int64, device=device)}
    for cache, capacity in (("positive", config.positive_capacity), ("negative", config.negative_capacity)):
        places = (n_classes, capacity)
        memory[f"{cache}_features"] = torch.zeros(*places, dim, dtype=dtype, device=device)
        memory[f"{cache}_entropies"] = torch.full(places, torch.inf, dtype=dtype, device=device)
        memory[f"{cache}_images"] = torch.full(places, -1, dtype=torch.int64, device=device)
    memory["negative_masks"] = torch.zeros(*places, n_classes, dtype=dtype, device=device)
    return memory


def remember(memory: Memory, image: ViewedImage, config: TDAConfig) -> None:
    """Keep an image in the caches of the class of its largest logit, where its entropy lets it; write into memory."""
    label, number = int(image.logits.argmax()), memory["images_seen"]
    item = {"features": image.feature, "entropies": image.entropy, "images": number}
    _keep(memory, "positive", label, item)
    share = image.entropy / math.log2(max(2, len(image.logits)))  # of one class the entropy is 0
    if config.least_entropy < share < config.most_entropy:
        p = image.probabilities
        item["masks"] = (p > config.least_probability) & (p < config.most_probability)
        _keep(memory, "negative", label, item)
    memory["images_seen"] += 1


def _keep(memory: Memory, cache: Cache, label: int, item: dict[str, Tensor]) -> None:
    """Put an item in the last place of its class if that is free or has more entropy, then sort the places."""
    entropies = memory[f"{cache}_entropies"][label]
    if not len(entropies) or not item["entropies"] < entropies[-1]:
        return
    order = torch.cat([entropies[:-1], item["entropies"].to(entropies)[None]]).argsort(stable=True)
    for name, value in item.items():
        places = memory[f"{cache}_{name}"][label]
        places[-1] = value
        places.copy_(places[order])


def correction(memory: Memory, feature: Tensor, config: TDAConfig) -> Tensor:
    """Caches and the feature (D,) of an image -> what is added to its logits, (C,)."""
    for_own = affinities(memory, "positive", feature, config.beta)
    against = affinities(memory, "negative", feature, config.negative_beta)
    masks = memory["negative_masks"].flatten(0, 1)  # (C * K, C)
    return config.alpha * for_own.sum(dim=1) - config.negative_alpha * against.flatten() @ masks


def affinities(memory: Memory, cache: Cache, feature: Tensor, beta: float) -> Tensor:
    """exp(-beta (1 - f f_i)) of every place of a cache, (C, K); 0 where a place is free."""
    keys = memory[f"{cache}_features"]
    weights = torch.exp(-beta * (1 - keys @ feature.to(keys)))
    return weights.where(memory[f"{cache}_entropies"].isfinite(), 0)


@dataclass(frozen=True)
class CachedItems:
    """The N items of a cache, by rising class, and by rising entropy within a class."""

    labels: Tensor  # (N,) int64
    entropies: Tensor  # (N,), in nats
    images: Tensor  # (N,) int64, numbers in the stream, from 0


def cached_items(memory: Memory, cache: Cache) -> CachedItems:
    """What a memory of `tda` holds: whose images, of which class, and how sure they were.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        method = adaptkit.create_method("tda", backbone, ["corgi", "husky"])
        list(method.stream(["first.jpg", "second.jpg"]))
        print(adaptkit.test_time.cached_items(method.stream_state(), "positive").images)
        ```
    """
    entropies = memory[f"{cache}_entropies"]
    taken = entropies.isfinite()
    return CachedItems(taken.nonzero()[:, 0], entropies[taken], memory[f"{cache}_images"][taken])
