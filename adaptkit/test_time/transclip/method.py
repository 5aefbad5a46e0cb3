"""TransCLIP: all images of a test are classified together, by Gaussians of the classes and by their neighbours.

Zanella et al., "Boosting Vision-Language Models with Transduction", arXiv:2406.01837; `solver` has the equations.
Around zero-shot CLIP it is the zero-shot form; around any other method it stands on top of its predictions. In the
few-shot form features and labels of the shots are kept; they enter means, variances and neighbours, and are saved.

The logits are log z. Probabilities of the inner method below the least of float32 count as that, so all are finite; a
class that no image belongs to keeps the mean that it has.

Departure: the probabilities to start from are those of the method inside at its own scale, where the released code
    multiplies cosines by 100, the scale of OpenAI's models.
Departure: shots are taken as they are, one view each, or as the mean of the views that the method inside wants.
"""

from typing import Literal

import torch
from torch import Tensor

from adaptkit.artefacts.tensors import check_dtype
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.method import Support
from adaptkit.contract.test_time import DIMENSIONS, Transductive, register_test_time
from adaptkit.contract.wrapper import SUPPORT_ROWS, MakeInner
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.support_features import unit_support
from adaptkit.options import option, options
from adaptkit.test_time.transclip.solver import Alias, Stacking, Starts, Transduction

KEPT = ("shots", "shot_labels", "validation", "validation_labels")  # buffers that are saved


@options
class TransCLIPConfig:
    mode: Literal["zero_shot", "few_shot"] = option(
        "zero_shot", "Whether training images are kept beside the test's, as shots."
    )
    kl_weight: float | None = option(
        None,
        "Lambda, the power of the inner method's probabilities. Null is 1, and 0.5 with shots.",
        least=0,
    )
    neighbours: int = option(3, "Neighbours of an image.", least=0)
    iterations: int = option(10, "Updates of the means; assignments have one more.", least=0)
    inner_steps: int = option(5, "Steps in an update of the assignments.", least=1)
    gamma: float = option(0.02, "Share of the shots in means and variances, until a search.", least=0)
    search: Literal["validation", "none"] = option(
        "validation", "Whether validation images choose gamma in each test, or nothing does."
    )
    gammas: tuple[float, ...] = option((0.002, 0.01, 0.02, 0.2), "What the search tries, in this order.", least=0)
    starts: Starts = option(
        "warm", "Whether each gamma of the search goes on where the one before it ended, as released, or begins anew."
    )
    stacking: Stacking = option(
        "matched", "Whether neighbours meet their own assignments where there are shots, or, as released, others'."
    )
    alias: Alias = option(
        "kept",
        "Whether the inner method's probabilities stay, or follow the assignments, as released on top of another "
        "method without shots.",
    )

    def __post_init__(self) -> None:
        if not self.gammas:
            raise ValueError("gammas=(); expected one number or more, such as (0.002, 0.01, 0.02, 0.2)")


@register_test_time("transclip", TransCLIPConfig)
class TransCLIP(Transductive):
    """Any method whose answers to a whole test are brought into accord with each other; nothing is learnt here."""

    provides = frozenset({"prepare", "tune"})
    shots: Tensor
    shot_labels: Tensor
    validation: Tensor
    validation_labels: Tensor

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: TransCLIPConfig):
        inner = make_inner(backbone)
        super().__init__(backbone, inner)
        self.config = config
        few_shot = config.mode == "few_shot"
        own = {"prepare": few_shot, "tune": few_shot and config.search == "validation"}
        self.provides = self.provides - {part for part, has in own.items() if not has and part not in inner.provides}
        self._encodes_again = few_shot and inner.consumes != "features"  # what is learnt may change the features
        self._support: Support | None = None
        if few_shot:
            self.support_items = None  # all of them are shots
        empty = at_least_fp32(torch.zeros(0, backbone.embed_dim, dtype=backbone.dtype, device=backbone.device))
        for name in KEPT:
            kept = torch.zeros(0, dtype=torch.int64, device=empty.device) if "labels" in name else empty.clone()
            self.register_buffer(name, kept, persistent=few_shot)

    @property
    def _few_shot(self) -> bool:
        return self.config.mode == "few_shot"

    def logits_of_all(self, features: Tensor, logits: Tensor) -> Tensor:
        """Unit features (N, D) and logits (N, C) of the inner method -> log z (N, C), each row normalised."""
        if not len(features):
            return logits
        dtype = at_least_fp32(logits).dtype
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            shots = Support(self.shots.to(dtype), self.shot_labels) if len(self.shots) else None
            transduction = Transduction(
                features.to(dtype),
                logits.to(dtype).log_softmax(dim=1),
                shots,
                kl_weight=self.config.kl_weight,
                neighbours=self.config.neighbours,
                inner_steps=self.config.inner_steps,
                stacking=self.config.stacking,
                alias=self.config.alias,
            )
            if shots is None or not len(self.validation):
                return transduction.solve(self.config.gamma, self.config.iterations)
            validation = Support(self.validation.to(dtype), self.validation_labels)
            return transduction.search(self.config.gammas, validation, self.config.iterations, self.config.starts).log_z

    # What is kept of labelled images

    def prepare(self, support: Support) -> None:
        """Keep the support's features and labels where there are to be shots."""
        if "prepare" in self.inner.provides:
            super().prepare(support)
        if self._few_shot:
            self._support = support if self._encodes_again else None
            self.shots, self.shot_labels = self._features_of(support)

    def after_epoch(self, epoch: int) -> None:
        super().after_epoch(epoch)
        if self._support is not None:  # what was learnt may have changed the features
            self.shots, self.shot_labels = self._features_of(self._support)

    def tune(self, validation: Support) -> None:
        """Keep validation images, whose labels choose gamma when there are images to be classified."""
        if "tune" in self.inner.provides:
            super().tune(validation)
        if self._few_shot and self.config.search == "validation":
            self.validation, self.validation_labels = self._features_of(validation)

    @torch.no_grad()
    def _features_of(self, support: Support) -> tuple[Tensor, Tensor]:
        """Unit features (S, D) by the inner method as it is now, of the mean over views, and labels (S,)."""
        x = support.x
        viewed = x.ndim == DIMENSIONS[self.inner.consumes] + 2
        parts = (x.flatten(0, 1) if viewed else x).split(SUPPORT_ROWS)
        features = torch.cat([self.inner.image_features_of(part.to(self.device)) for part in parts])
        if viewed:
            features = features.unflatten(0, x.shape[:2]).mean(dim=1)
        return unit_support(Support(features, support.labels), self.shots, len(self.classes))

    @property
    def bound_to_classes(self) -> str | None:
        if not self._few_shot:
            return self.inner.bound_to_classes
        return (
            f"the shots show the {len(self.classes)} classes that it was made for and none of others; make a new "
            'transclip and prepare it with images of the new classes, or take mode="zero_shot"'
        )

    # What is saved

    def learnt_state(self) -> dict[str, Tensor]:
        own = {name: self.get_buffer(name).detach().clone() for name in KEPT} if self._few_shot else {}
        return super().learnt_state() | own

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        own = KEPT if self._few_shot else ()
        if missing := [name for name in own if name not in state]:
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; {missing} are missing")
        for features, labels in zip(own[::2], own[1::2], strict=True):
            self._check_kept(features, state[features], labels, state[labels])
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name not in own})
        for name in own:
            setattr(self, name, state[name].to(self.get_buffer(name)).clone())

    def _check_kept(self, name: str, features: Tensor, labels_name: str, labels: Tensor) -> None:
        check_dtype(name, features, self.get_buffer(name))
        check_dtype(labels_name, labels, self.get_buffer(labels_name))
        width, n_classes = self.shots.shape[1], len(self.classes)
        if features.ndim != 2 or features.shape[1] != width or labels.shape != (len(features),):
            raise ValueError(
                f"{name} {tuple(features.shape)} with {labels_name} {tuple(labels.shape)}; "
                f"expected (S, {width}) with (S,)"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
            raise ValueError(
                f"{labels_name} reach from {int(labels.min())} to {int(labels.max())}; there are {n_classes} classes"
            )
