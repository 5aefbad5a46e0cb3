"""TPT: one step on the words of the prompt for each test image, so that its views agree.

Shu et al., "Test-Time Prompt Tuning for Zero-Shot Generalization in Vision-Language Models", arXiv:2209.07511:
    kept = the rho N views of least entropy under the prompt p
    pbar = mean over the kept views of softmax_c(cos(f_view, g_c(p)) / tau)                              (eq. 4)
    p*   = argmin_p  -sum_c pbar_c ln pbar_c                                                              (eq. 3)
by one step of AdamW from the same p for every image; view 0 is classified with p*.

The method inside may be any whose class weights depend on what it learns: CoOp's context here, TaskRes's residual as
well. Image features of the views do not depend on it and are encoded once. The text forward at p is the same for every
image: it is run once, and an image costs one backward pass through it and one forward pass at p*.

Departure: like the released code, AdamW has torch's weight decay of 0.01, which the paper does not mention.
Departure: there is no gradient scaler, which in the released code skips a step in silence where a gradient overflows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.test_views import TestViews
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.test_time import Episodic, Seen, register_test_time
from adaptkit.contract.wrapper import MakeInner
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options
from adaptkit.test_time.entropy import entropy_of_mean, kept_views

Tensors = dict[str, Tensor]


@options
class TPTConfig:
    n_views: int = option(64, "Views of each image, the first of them without augmentation.", least=1)
    augmix: bool = option(True, "Whether crops go through AugMix, as for the paper's fine-grained data sets.")
    selection_p: float = option(0.1, "Share of the views that is kept, those of least entropy.", above=0, most=1)
    steps: int = option(1, "Steps for each image; the views of before the first one stay kept.", least=1)
    lr: float = option(5e-3, "Rate of AdamW.", least=0)
    weight_decay: float = option(0.01, "Weight decay of AdamW.", least=0)
    view_seed: int = option(0, "Seed of the random crops.", least=0)


@register_test_time("tpt", TPTConfig, around="coop", ctx_init="a photo of a")
class TPT(Episodic):
    """The learnt tensors of the method inside, tuned for one image and put back for the next."""

    is_usual = False  # many views of every image

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: TPTConfig):
        inner = make_inner(backbone)
        super().__init__(backbone, inner)
        self.config = config
        self.test_views = TestViews(config.n_views, config.augmix, config.view_seed)
        if "class_weights" not in inner.provides or not inner.learnt_parameters():
            raise ValueError(
                f"tpt tunes what class weights are made of, and {type(inner).__name__} "
                f"{'learns nothing' if 'class_weights' in inner.provides else 'has none that hold for every image'}; "
                "put it around coop, kgcoop, taskres or another method with learnt class weights"
            )
        self._names = list(inner.learnt_parameters())
        self._start: tuple[Tensors, Tensor] | None = None  # inside `encode_classes_once`
        if len(self.classes) and not self.at_start()[1].requires_grad:
            raise ValueError(
                f"tpt tunes what class weights are made of, and those of {type(inner).__name__} depend on nothing that "
                "it learns; put it around coop, kgcoop, taskres or another method with learnt class weights"
            )

    def logits_of_views(self, seen: Seen) -> Tensor:
        """Views (B, V, ...) of B images -> logits (B, C) of their first views, each with tensors of its own."""
        start = self._start or self.at_start()
        each = zip(seen.features, seen.logits, strict=True)
        rows = [self._logits_of_one(features, logits, start) for features, logits in each]
        return torch.stack(rows) if rows else seen.logits[:, 0]

    def _logits_of_one(self, features: Tensor, logits: Tensor, start: tuple[Tensors, Tensor]) -> Tensor:
        """Unit features (V, D) of one image, and their logits (V, C) before any step -> logits (C,) of view 0."""
        kept = features[kept_views(logits, self.config.selection_p)]
        tensors = self.tuned(kept, start)
        return self.backbone.logits(features[:1], self.weights_with(tensors))[0]

    def tuned(self, kept: Tensor, start: "tuple[Tensors, Tensor] | None" = None) -> Tensors:
        """The inner method's learnt tensors after the steps on the kept views' features (K, D) of one image."""
        tensors, weights = start or self.at_start()
        tuned = {name: at_least_fp32(tensor.detach()).clone().requires_grad_() for name, tensor in tensors.items()}
        optimizer = torch.optim.AdamW(tuned.values(), lr=self.config.lr, weight_decay=self.config.weight_decay)
        for step in range(self.config.steps):
            if step:
                with torch.enable_grad():
                    tensors, weights = tuned, self.weights_with(tuned)
            gradients = self.gradients(kept, tensors, weights)
            for tensor, gradient in zip(tuned.values(), gradients, strict=True):
                tensor.grad = None if gradient is None else gradient.to(tensor)
            optimizer.step()
        return {name: tensor.detach() for name, tensor in tuned.items()}

    def gradients(self, kept: Tensor, tensors: Tensors, weights: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the loss (3) to the tensors that class weights (C, D) were made of; their graph is kept.

        The loss is computed in 32 bits or more.
        """
        with torch.enable_grad():
            classifier = at_least_fp32(weights.detach()).requires_grad_()
            loss = entropy_of_mean(self.backbone.logits(at_least_fp32(kept), classifier))
            (towards,) = torch.autograd.grad(loss, classifier)
            towards = towards.to(weights)
            return torch.autograd.grad(weights, list(tensors.values()), towards, retain_graph=True, allow_unused=True)

    def at_start(self) -> tuple[Tensors, Tensor]:
        """The learnt tensors as every image finds them, and the class weights (C, D) with the graph to them."""
        parameters = dict(self.inner.named_parameters())
        tensors = {name: parameters[name].detach().clone().requires_grad_() for name in self._names}
        with torch.enable_grad():
            return tensors, self.weights_with(tensors)

    def weights_with(self, tensors: Tensors) -> Tensor:
        """Class weights (C, D) of the inner method with other learnt tensors."""
        return functional_call(_ClassWeights(self.inner), {f"method.{name}": tensors[name] for name in tensors}, ())

    @contextmanager
    def encode_classes_once(self) -> Iterator[None]:
        with self.inner.encode_classes_once():
            before = self._start
            self._start = before or (self.at_start() if len(self.classes) else None)
            try:
                yield
            finally:
                self._start = before


class _ClassWeights(nn.Module):
    """The class weights of a method as a module's output, which can be called with other tensors."""

    method: AdaptedCLIP

    def __init__(self, method: AdaptedCLIP):
        super().__init__()
        self.method = method

    def forward(self) -> Tensor:
        return self.method.class_weights()
