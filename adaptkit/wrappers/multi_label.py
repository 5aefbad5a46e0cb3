"""Several labels per image: the inner method with a sigmoid for each label in the place of the softmax over classes.

The inner method's logits become log odds, a z_c + b_c, by a scale and biases that `prepare` fits to the training
images, and the method learns from then on by binary cross-entropy on every label, or by the asymmetric loss
(`adaptkit.layers.label_odds` has both). A label is an answer where its log odds reach its threshold. Thresholds are 0
until they are set to ones that were chosen on images that the method has not learnt from.

Any method takes part whose loss is the cross-entropy of its logits with a regularizer that reads no labels: it is asked
once, on images of noise, when the wrapper is made. Others say why not.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.layers.label_odds import as_targets, fit_log_odds, label_loss
from adaptkit.options import option, options

ROWS = 256  # images that are scored at a time
SUPPORT_IMAGES = 512  # most images that a and b are fitted to where they are kept as pixels


@options
class MultiLabelConfig:
    gamma_positive: float = option(
        0.0, "Asymmetric loss: how much less an image counts for a label that it surely has.", least=0
    )
    gamma_negative: float = option(
        0.0, "Asymmetric loss: how much less it counts for a label that it surely lacks; its paper takes 4.", least=0
    )
    margin: float = option(
        0.0, "Asymmetric loss: scores below this count nothing where a label is lacking; 0.05.", least=0, below=1
    )


@register_wrapper("multi_label", MultiLabelConfig)
class MultiLabel(MethodWrapper):
    """The inner method with log odds of every label as its logits.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        method = adaptkit.create_method("taskres", backbone, ["corgi", "husky", "ball"], wrap=["multi_label"])
        labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
        features = torch.randn(2, backbone.embed_dim)
        method.prepare(adaptkit.Support(features, labels))
        print(method.loss(features, labels))
        ```
    """

    provides = frozenset({"prepare", "tune"})
    withholds = frozenset({"class_weights"})  # they would not give these logits
    scale: Tensor
    bias: Tensor
    thresholds: Tensor

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: MultiLabelConfig):
        inner = make_inner(backbone)
        super().__init__(backbone, inner)
        if reason := why_one_label(inner):
            raise ValueError(f"{reason}; for several labels per image take coop, taskres, linear_probe or clip_lora")
        if "tune" not in inner.provides:
            self.provides = self.provides - {"tune"}
        self.config = config
        n_labels, device = len(inner.classes), backbone.device
        self.register_buffer("scale", torch.ones((), device=device))
        self.register_buffer("bias", torch.zeros(n_labels, device=device))
        self.register_buffer("thresholds", torch.zeros(n_labels, device=device))
        if "prepare" not in inner.provides and inner.consumes == "images":
            self.support_items = SUPPORT_IMAGES

    @property
    def label_thresholds(self) -> Tensor:
        return self.thresholds

    def set_thresholds(self, thresholds: Tensor) -> None:
        """Set the log odds (C,) from which a label is an answer.

        Raises:
            ValueError: if there is not one for each label, or one is not finite.
        """
        if thresholds.shape != self.thresholds.shape or not thresholds.isfinite().all():
            raise ValueError(
                f"thresholds {tuple(thresholds.shape)}; expected one finite number for each of {len(self.bias)} labels"
            )
        self.thresholds.copy_(thresholds)

    @torch.no_grad()
    def rescale(self, scale: float, bias: Tensor) -> None:
        """Make log odds z of now scale * z + bias (C,), as a fit to other images says; thresholds are set anew then."""
        self.scale.mul_(scale)
        self.bias.mul_(scale).add_(bias.to(self.bias))

    def prepare(self, support: Support) -> None:
        """Fit the scale and the biases to labels (N,) of one class each, or (N, C) of 0 and 1.

        A method that fits a classifier of its own to the support has log odds already.
        """
        support = Support(support.x, as_targets(support.labels, len(self.classes)))
        if "prepare" in self.inner.provides:
            super().prepare(support)
            return
        was_training = self.training
        self.eval()
        with torch.no_grad(), self.inner.encode_classes_once():
            parts = support.x.split(ROWS)
            logits = torch.cat([self.inner.logits(self.inner_input(part.to(self.device))) for part in parts])
        self.train(was_training)
        scale, bias = fit_log_odds(logits, support.labels.to(logits.device))
        self.scale.fill_(scale)
        self.bias.copy_(bias)

    def tune(self, validation: Support) -> None:
        super().tune(Support(validation.x, as_targets(validation.labels, len(self.classes))))

    def logits(self, x: Tensor) -> Tensor:
        """What the inner method consumes (B, ...) -> log odds of each label (B, C)."""
        return self._log_odds(self.inner.logits(self.inner_input(x)))

    def hands_out_tokens(self) -> bool:
        return self.inner.hands_out_tokens()

    def logits_of_tokens(self, tokens: Tensor) -> Tensor:
        return self._log_odds(self.inner.logits_of_tokens(tokens))

    def _log_odds(self, logits: Tensor) -> Tensor:
        return logits * self.scale + self.bias

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """What the inner method consumes; labels (B,) of one class each, or (B, C) of 0 and 1 -> scalar."""
        config, targets = self.config, as_targets(labels, len(self.classes))
        loss = label_loss(self.logits(x), targets, config.gamma_positive, config.gamma_negative, config.margin)
        added = self.inner.regularizer(self.inner_input(x), targets)
        return loss if added is None else loss + added

    def class_weights(self) -> Tensor:
        raise TypeError(
            "log odds of labels are no cosines, so no class weights give them; those of `inner` are its own"
        )

    def folds_classes(self) -> bool:
        return self.inner.folds_classes()

    @property
    def bound_to_classes(self) -> str:
        return (
            f"the biases and thresholds are those of the {len(self.classes)} labels that were learnt, and others would "
            "have none; learn them anew with the other labels"
        )

    # What is saved

    def _own_state(self) -> dict[str, Tensor]:
        return {"scale": self.scale, "bias": self.bias, "thresholds": self.thresholds}

    def learnt_state(self) -> dict[str, Tensor]:
        return super().learnt_state() | {name: own.detach().clone() for name, own in self._own_state().items()}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        own = self._own_state()
        if missing := [name for name in own if name not in state]:
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; {missing} are missing")
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name not in own})
        self._copy_into(own, {name: state[name] for name in own})


def why_one_label(method: AdaptedCLIP) -> str | None:
    """Why a method cannot learn several labels per image; None if it can.

    The method is tried on two images of noise, without gradients.
    """
    name = method.spec.name if method.spec is not None else type(method).__name__
    if not len(method.classes):
        return f"{name} has no classes yet, and a bias and a threshold belong to each label"
    if not method.learns_from_labels:
        return f"{name} learns without labels"
    if "backward" in method.provides:
        return f"{name} finds its gradients in its own way, from one class per image"
    if method.mixes_classes:
        return f"{name} scores a class by which others there are, so its scores are not independent"
    parts = [part for part in ("prepare", "tune") if part in method.provides]
    if parts and not method.reads_several_labels:
        what = {"prepare": "is prepared with", "tune": "chooses its settings by"}[parts[0]]
        return f"{name} {what} images of one class each"
    return None if _is_cross_entropy(method) else f"the loss of {name} is more than a cross-entropy of its logits"


@torch.no_grad()
def _is_cross_entropy(method: AdaptedCLIP) -> bool:
    """Whether the loss is the cross-entropy of the logits with a regularizer that reads no labels."""
    height, width = method.backbone.preprocess_cfg.image_size
    device, n_classes, was_training = method.device, len(method.classes), method.training
    noise = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, n_classes - 1], device=device)
    certain = F.one_hot(labels, n_classes).to(torch.promote_types(method.backbone.dtype, torch.float32))

    def repeated(part: Callable[[Tensor, Tensor], Tensor | None], labels: Tensor) -> Tensor | None:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            return part(x, labels)

    method.eval()
    try:
        x = method.consume(noise.to(device, method.backbone.dtype))
        added = repeated(method.regularizer, labels)
        for others in (certain, certain.flip(0), 3 * torch.ones_like(certain)):
            again = repeated(method.regularizer, others)
            if (again is None) != (added is None) or (again is not None and not torch.equal(again, _some(added))):
                return False
        expected = F.cross_entropy(method.logits(x), labels) + (0.0 if added is None else added)
        found = _some(repeated(method.loss, certain))
    except (IndexError, RuntimeError, TypeError, ValueError):
        return False
    finally:
        method.train(was_training)
    return torch.allclose(found.to(expected), expected, rtol=1e-3, atol=1e-5)


def _some(found: Tensor | None) -> Tensor:
    assert found is not None
    return found
