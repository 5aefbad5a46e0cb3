"""WiSE-FT: a method that learns CLIP's weights, answered from a place between zero-shot and what it learnt.

Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903. With weights w_0 of the model that was
loaded and w_1 after training,
    w = (1 - alpha) w_0 + alpha w_1
Training is the method's own; the line is between its ends, when it is evaluated. At alpha = 0 the method answers as at
its start, at 1 as it was trained. Often a place between the two keeps more of zero-shot's robustness, at little cost on
the data of the training; without validation images that show it, the paper recommends 0.5.

A method says by its part `start_state` that there is such a line. Of low-rank updates w_1 = w_0 + s B A it is that of
the product, w = w_0 + alpha s B A, and not of the factors. Learnt tensors stay saved as they were trained, so alpha may
be another one after loading.

Departure: the paper chooses alpha, where it does, on data with the shift; `tune` chooses it on validation images of the
    training's own classes, never on test images.
"""

from collections.abc import Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import list_methods, method_class, register_wrapper
from adaptkit.contract.wrapper import INNER, MakeInner, MethodWrapper
from adaptkit.deployment.merging import Mergeable
from adaptkit.options import option, options

Self = TypeVar("Self", bound="Wise")
ALPHAS = tuple(tenth / 10 for tenth in range(11))
ROWS = 256  # images that are scored at a time


@options
class WiseConfig:
    alpha: float = option(
        0.5, "The share of the way from the weights as loaded (0) to those that were learnt (1).", least=0, most=1
    )
    choose: Literal["given", "validation"] = option(
        "given",
        "The given alpha, or the most accurate of 0, 0.1 ... 1 on validation images; of equally good ones the least.",
    )


@register_wrapper("wise", WiseConfig)
class Wise(MethodWrapper):
    """The inner method: in training as it is, in evaluation with weights between its start and what it learnt.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        method = adaptkit.create_method("clip_lora", backbone, ["corgi", "husky"], wrap=["wise"])
        method.eval().set_alpha(0.3)
        assert method(torch.rand(4, 3, 48, 48)).shape == (4, 2)
        ```
    """

    provides = frozenset({"tune"})
    alpha: Tensor

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: WiseConfig):
        inner = make_inner(backbone)
        _refuse(inner)
        super().__init__(backbone, inner)
        self.config = config
        self.register_buffer("alpha", torch.tensor(config.alpha, device=backbone.device))
        self._learnt: dict[str, Tensor] | None = None  # of the innermost method, while it stands elsewhere on the line
        self.register_load_state_dict_post_hook(_stand_again)
        if config.choose == "given" and "tune" not in inner.provides:
            self.provides = self.provides - {"tune"}

    # The line

    def _stand_at(self, alpha: float, start: Mapping[str, Tensor], learnt: Mapping[str, Tensor]) -> None:
        """Give the innermost method the weights at a place."""
        self.innermost.load_learnt_state(
            {
                name: torch.lerp(start[name].to(end), end, alpha) if end.is_floating_point() else end
                for name, end in learnt.items()
            }
        )

    def _leave_line(self) -> None:
        """Give the innermost method its learnt weights back."""
        if self._learnt is not None:
            self.innermost.load_learnt_state(self._learnt)
            self._learnt = None

    def _enter_line(self) -> None:
        """Put the innermost method where alpha says."""
        if self._learnt is None and self.alpha < 1:
            learnt = self.innermost.learnt_state()
            self._stand_at(float(self.alpha), self.innermost.start_state(), learnt)
            self._learnt = learnt

    def train(self: Self, mode: bool = True) -> Self:
        """Enter a mode: in training the weights are the learnt ones."""
        if mode:
            self._leave_line()
        super().train(mode)
        if not mode:
            self._enter_line()
        return self

    def set_alpha(self: Self, alpha: float) -> Self:
        """Take another place on the line, also after loading; training is the same for all.

        Raises:
            ValueError: if alpha is not between 0 and 1.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha}; expected 0 (the weights as loaded) to 1 (the learnt ones)")
        self._leave_line()
        self.alpha.fill_(alpha)
        return self.train(self.training)

    def tune(self, validation: Support) -> None:
        if self.config.choose == "validation":
            self.choose_alpha(validation.x, validation.labels)
        if "tune" in self.inner.provides:
            super().tune(validation)

    @torch.no_grad()
    def choose_alpha(self, x: Tensor, labels: Tensor) -> float:
        """Take the most accurate alpha of 0, 0.1 ... 1 on images and return it; of equally good ones the least.

        Args:
            x: what this method consumes, (N, ...), of validation images.
            labels: (N,) int64.
        """
        was_training = self.training
        self.train()
        start, learnt = self.innermost.start_state(), self.innermost.learnt_state()
        self.inner.eval()
        correct = []
        for alpha in ALPHAS:
            self._stand_at(alpha, start, learnt)
            correct.append(self._count_correct(x, labels))
        self.innermost.load_learnt_state(learnt)
        self.train(was_training).set_alpha(ALPHAS[correct.index(max(correct))])
        return float(self.alpha)

    def _count_correct(self, x: Tensor, labels: Tensor) -> int:
        with self.inner.encode_classes_once():
            logits = (self.inner.logits(self.inner_input(part.to(self.device))) for part in x.split(ROWS))
            answers = torch.cat([part.argmax(dim=-1).cpu() for part in logits])
        return int((answers == labels.cpu()).sum())

    def merge_and_unload(self) -> FrozenCLIP:
        """A plain backbone with the weights at alpha; this method stays as it is.

        Raises:
            TypeError: if the inner method cannot be folded into a backbone.
        """
        if not isinstance(self.inner, Mergeable):
            raise TypeError(
                f"{type(self.inner).__name__} learns or computes something beside CLIP's weights, so what is on the "
                "line cannot be folded into a backbone; full and clip_lora learn weights alone"
            )
        was_training = self.training
        self.eval()
        merged = self.inner.merge_and_unload()
        self.train(was_training)
        merged.name = f"{merged.name} at {float(self.alpha):g}"
        return merged

    # What is saved: the learnt weights, wherever the method stands

    def _names(self) -> dict[str, str]:
        """Names of the innermost method's learnt tensors -> the names here."""
        prefix, method = INNER, self.inner
        while isinstance(method, MethodWrapper):
            prefix, method = prefix + INNER, method.inner
        return {name: prefix + name for name in self._learnt or ()}

    def learnt_state(self) -> dict[str, Tensor]:
        learnt = self._learnt or {}
        found = {ours: learnt[name].clone() for name, ours in self._names().items()}
        return super().learnt_state() | found | {"alpha": self.alpha.clone()}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        if "alpha" not in state:
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; alpha is missing")
        self._leave_line()
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name != "alpha"})
        self._copy_into({"alpha": self.alpha}, {"alpha": state["alpha"]})
        self.train(self.training)

    def state_dict(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        """torch's own, with the learnt weights."""
        found, learnt, prefix = super().state_dict(*args, **kwargs), self._learnt or {}, kwargs.get("prefix", "")
        found.update({prefix + ours: learnt[name] for name, ours in self._names().items() if prefix + ours in found})
        return found

    def _load_from_state_dict(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        self._leave_line()
        super()._load_from_state_dict(*args, **kwargs)


def _stand_again(wrapper: torch.nn.Module, _: object) -> None:
    """Take the place on the line again, from weights that torch has loaded."""
    wrapper.train(wrapper.training)


def _refuse(inner: AdaptedCLIP) -> None:
    """Refuse a method without a line.

    Raises:
        ValueError: says why.
    """
    innermost = inner.innermost
    if "start_state" not in innermost.provides:
        known = [name for name in list_methods() if "start_state" in method_class(name).provides]
        raise ValueError(
            f"wise goes from CLIP's weights to learnt ones, and {type(innermost).__name__} learns something beside "
            f"them, which no straight line leads back to zero-shot; take one of {', '.join(known)}"
        )
    own = {id(weight) for weight in innermost.learnt_parameters().values()}
    beside = [name for name, weight in inner.learnt_parameters().items() if id(weight) not in own]
    if beside:
        raise ValueError(
            f"wise goes from CLIP's weights to learnt ones, and a wrapper inside of it learns {beside[0]} and "
            f"{len(beside) - 1} more beside them; name wise inside of that wrapper"
        )
