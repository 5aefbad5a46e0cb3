"""Post-hoc debiasing: takes out of any classifier's logits what they say of inputs that show nothing.

After Zhang et al., "Debiasing Large Visual Language Models", arXiv:2403.05262; equations.py has the formulas and how
they depart from the released code. The inputs that show nothing go through the same adapted towers, prompts and caches
as images, each time that logits are asked for, so the prior cannot be that of other class names, or of other learnt
tensors. Inside `encode_classes_once`, where nothing may be learnt, it is computed once.

Departure: the paper treats language models; here classes are told apart by any method of this library.
Departure: nothing is kept of a prior but the images' mean, the shuffled images, and a strength that was chosen, so no
    hash of class texts has to say whether it is still the right one.
Departure: training is the wrapped method's own, as if this wrapper were not there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.inputs import convert
from adaptkit.contract.method import Support
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options
from adaptkit.wrappers.posthoc_debias.absent import NOISE_IMAGES, blank_images, noise_images, shuffled_images
from adaptkit.wrappers.posthoc_debias.equations import Correction, corrected, distance_from_uniform, prior_of
from adaptkit.wrappers.posthoc_debias.measures import Measures, measure

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
MOMENTUM = 0.99  # of the running mean over a stream, for each image
MEAN_OF = 256  # training images whose mean is taken, where the inner method needs none
ROWS = 256  # images that are scored at a time


@options
class PosthocDebiasConfig:
    prior: Literal["blank", "noise", "shuffle", "mean", "batch"] = option(
        "blank",
        "What shows nothing: black, white and grey images; noise; training images with shuffled pixels; the mean "
        "feature of training images; or the running mean of the images that are classified.",
    )
    correction: Correction = option(
        "diag", "Logits less the log of the prior, probabilities less the prior, or logits away from those of nothing."
    )
    strength: float | None = option(
        None, "Share of the prior that is taken out; 0 changes nothing. Null is 1, and 0.5 for contrast.", least=0
    )
    choose: Literal["given", "validation", "unlabelled"] = option(
        "given",
        "The given strength; the most accurate one on validation images; or the one with the most even answers to "
        "validation images, whose labels are not read. The last is for classes of equal size only.",
    )
    prior_scale: float | None = option(
        None,
        "Multiplies the logits that the prior is made of; below 1 it is softer. Null is 1, and 0.25 for a prior with "
        "more than 0.9 on one class.",
        above=0,
    )
    beta: float = option(
        0.1, "Contrast leaves out classes less likely than this share of the likeliest.", least=0, most=1
    )

    def __post_init__(self) -> None:
        if self.prior == "batch" and self.choose != "given":
            raise ValueError(
                f'prior="batch" and choose={self.choose!r}; a running mean has no value yet for which a strength could '
                'be chosen, set choose="given" or prior="mean"'
            )

    @property
    def first_strength(self) -> float:
        """The strength until another is chosen."""
        if self.strength is not None:
            return self.strength
        return 0.5 if self.correction == "contrast" else 1.0


@register_wrapper("posthoc_debias", PosthocDebiasConfig)
class PosthocDebias(MethodWrapper):
    """The inner method with corrected logits; nothing is learnt here."""

    withholds = frozenset({"class_weights"})  # they would not give these logits
    provides = frozenset({"prepare", "tune"})
    absent: Tensor
    seen: Tensor
    strength: Tensor

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: PosthocDebiasConfig):
        inner = make_inner(backbone)
        super().__init__(backbone, inner)
        self.config = config
        absent = self._first_absent()
        self.register_buffer("absent", absent.to(backbone.device), persistent=not self._needs_no_images)
        # Images that `absent` comes from; without any, logits stay as they are.
        self.register_buffer("seen", torch.tensor(float(self._needs_no_images)).to(backbone.device))
        self.register_buffer("strength", torch.tensor(config.first_strength).to(backbone.device))
        self._kept: Tensor | None = None
        if config.prior == "shuffle":
            self.consumes = "images"
        own = {"prepare": config.prior in ("mean", "shuffle"), "tune": config.choose != "given"}
        self.provides = self.provides - {part for part, has in own.items() if not has and part not in inner.provides}
        if own["prepare"] and "prepare" not in inner.provides:
            self.support_items = MEAN_OF if config.prior == "mean" else NOISE_IMAGES
        if config.prior == "mean" and backbone.learnt_in_towers():
            self.prepares_again = True

    @property
    def _needs_no_images(self) -> bool:
        return self.config.prior in ("blank", "noise")

    def _first_absent(self) -> Tensor:
        """Inputs that show nothing, or zeros in their shape where they are made of images."""
        cfg, prior = self.backbone.preprocess_cfg, self.config.prior
        if prior == "blank":
            return blank_images(cfg)
        if prior == "noise":
            return noise_images(cfg)
        if prior == "shuffle":
            return torch.zeros(NOISE_IMAGES, 3, *cfg.image_size)
        if self.inner.consumes == "images":
            raise ValueError(
                f"prior={prior!r} of posthoc_debias is a mean of features, and {type(self.inner).__name__} on "
                f"{self.backbone.name} changes the image tower that makes them; take blank, noise or shuffle"
            )
        image = torch.zeros(1, 3, *cfg.image_size, device=self.backbone.device, dtype=self.backbone.dtype)
        with torch.no_grad():
            return torch.zeros_like(at_least_fp32(convert(self.backbone, image, "images", self.inner.consumes)))

    # The prior

    @torch.no_grad()
    def absent_logits(self) -> Tensor:
        """Logits (K, C) of the inputs that show nothing, by the inner method as it is now."""
        if self._kept is not None:
            return self._kept
        x = self.absent.to(self.backbone.dtype)
        if self.config.prior not in ("mean", "batch"):
            x = convert(self.backbone, x, "images", self.inner.consumes)
        return self.inner.logits(x)

    def image_absent_prior(self) -> Tensor:
        """The prior p0 (C,): probabilities of the classes where nothing is shown, as the inner method is now."""
        return prior_of(self.absent_logits(), self.config.prior_scale)

    def prepare(self, support: Support) -> None:
        """Take what shows nothing from the support's images, without their labels."""
        if "prepare" in self.inner.provides:
            super().prepare(support)
        if self.config.prior in ("mean", "shuffle"):
            self._look_at(support)

    @torch.no_grad()
    def _look_at(self, support: Support) -> None:
        of_one = {"features": 1, "tokens": 2, "images": 3}[self.consumes]
        x = support.x if support.x.ndim == of_one + 1 else support.x.flatten(0, 1)  # (N, ...) of (N, V, ...)
        if self.config.prior == "shuffle":
            # Rows at even distances, so that every class has some, and as often as needed where there are few.
            rows = torch.arange(NOISE_IMAGES) * len(x) // NOISE_IMAGES
            self.absent.copy_(shuffled_images(x[rows.to(x.device)]))
        else:
            parts = [at_least_fp32(self.inner_input(part)).sum(dim=0) for part in x.to(self.device).split(ROWS)]
            self.absent.copy_(torch.stack(parts).sum(dim=0)[None] / len(x))
        self.seen.fill_(len(x))

    @torch.no_grad()
    def _follow_stream(self, x: Tensor) -> None:
        """Move the running mean by images that are classified: a plain mean of the first hundred, then an average."""
        for row in at_least_fp32(self.inner_input(x)):
            self.seen += 1
            self.absent += (row - self.absent) * torch.clamp(1 / self.seen, min=1 - MOMENTUM)

    # The strength

    def tune(self, validation: Support) -> None:
        if "tune" in self.inner.provides:
            super().tune(validation)
        if self.config.choose != "given":
            self.choose_strength(validation.x, validation.labels if self.config.choose == "validation" else None)

    @torch.no_grad()
    def choose_strength(self, x: Tensor, labels: Tensor | None = None) -> float:
        """Choose a strength from 0 to 1.5 on images, keep it and return it; the least of equally good ones.

        Args:
            x: what this method consumes, (N, ...).
            labels: (N,); None takes the strength at which the classes are answered most evenly, which is right only
                where the images are of equally many per class.

        Example:
            ```python
            backbone = adaptkit.load_backbone("adaptkit-mini")
            method = adaptkit.create_method("zero_shot", backbone, ["corgi", "husky"], wrap=["posthoc_debias"])
            method.choose_strength(torch.randn(8, backbone.embed_dim))
            ```
        """
        logits = torch.cat([self.inner.logits(self.inner_input(part)) for part in x.split(ROWS)])
        absent = self.absent_logits()

        def badness(strength: float) -> float:
            found = self._corrected(logits, absent, strength)
            if labels is None:
                return float(distance_from_uniform(found))
            return -float((found.argmax(dim=-1) == labels).float().mean())

        self.strength.fill_(min(STRENGTHS, key=badness))
        return float(self.strength)

    @torch.no_grad()
    def before_and_after(self, x: Tensor, labels: Tensor) -> tuple[Measures, Measures]:
        """Facts of the inner method's answers and of the corrected ones, to what this method consumes (N, ...)."""
        parts = [(self.inner.logits(self.inner_input(part)), self.logits(part)) for part in x.split(ROWS)]
        plain, own = (torch.cat(logits) for logits in zip(*parts, strict=True))
        return measure(plain, labels), measure(own, labels)

    # The contract of methods

    def logits(self, x: Tensor) -> Tensor:
        """What this method consumes (B, ...) -> corrected logits (B, C)."""
        if self.config.prior == "batch" and not self.training:
            self._follow_stream(x)
        return self._without_prior(self.inner.logits(self.inner_input(x)))

    def hands_out_tokens(self) -> bool:
        return self.inner.hands_out_tokens() and self.config.prior != "batch"

    def logits_of_tokens(self, tokens: Tensor) -> Tensor:
        return self._without_prior(self.inner.logits_of_tokens(tokens))

    def _without_prior(self, logits: Tensor) -> Tensor:
        return self._corrected(logits, self.absent_logits(), self.strength)

    def _corrected(self, logits: Tensor, absent: Tensor, strength: float | Tensor) -> Tensor:
        """Corrected logits (B, C), or the logits themselves where the strength is 0 or no image has been seen."""
        scale, beta = self.config.prior_scale, self.config.beta
        found = corrected(logits, absent, self.config.correction, strength, scale=scale, beta=beta)
        changes = torch.as_tensor(strength, device=logits.device).bool() & self.seen.bool()
        return torch.where(changes, found, logits)

    def class_weights(self) -> Tensor:
        raise TypeError("corrected logits are no cosines, so no class weights give them; those of `inner` are its own")

    def folds_classes(self) -> bool:
        return self.inner.folds_classes() and self.config.prior != "batch"

    def rebuild_from_names(self) -> None:
        if self._kept is not None:
            self._kept = None
            self._kept = self.absent_logits()

    @contextmanager
    def encode_classes_once(self) -> Iterator[None]:
        with self.inner.encode_classes_once():
            nested = self._kept is not None
            if not nested and self.config.prior != "batch" and len(self.classes):
                self._kept = self.absent_logits()
            try:
                yield
            finally:
                if not nested:
                    self._kept = None

    # What is saved

    def _own_state(self) -> dict[str, Tensor]:
        """Buffers that a loaded method needs: the strength, and what was made of images."""
        names = ["strength"] if self._needs_no_images else ["strength", "absent", "seen"]
        return {name: self.get_buffer(name) for name in names}

    def learnt_state(self) -> dict[str, Tensor]:
        own = {name: tensor.detach().clone() for name, tensor in self._own_state().items()}
        return super().learnt_state() | own

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        own = self._own_state()
        if missing := [name for name in own if name not in state]:
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; {missing} are missing")
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name not in own})
        self._copy_into(own, {name: state[name] for name in own})
        self.rebuild_from_names()
