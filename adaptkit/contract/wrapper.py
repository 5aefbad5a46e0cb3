"""MethodWrapper: a method around another method, which does all that the wrapper does not write itself.

A wrapper is made from a backbone, from what makes the inner method on a backbone, and from its options. One that
changes the towers hands another view of the backbone on; one that adds a head hands the backbone on as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.inputs import Consumes, convert
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.architecture import Architecture, ArchitectureSearch
from adaptkit.contract.method import AdaptedCLIP, Support

MakeInner = Callable[[FrozenCLIP], AdaptedCLIP]
SUPPORT_ROWS = 256  # images of the support set that are encoded at a time
INNER = "inner."  # in front of the names of the inner method's tensors


class MethodWrapper(AdaptedCLIP, is_contract=True):
    """A method that passes everything on to an inner one.

    A wrapper writes what differs: `logits` and `loss` where it adds to them, `consumes` where the inner method can no
    longer be fed with what it consumes alone. It provides what the inner method provides and what its class declares,
    without what its class `withholds`.

    Args:
        backbone: as the inner method sees it.
        inner: the method that is wrapped, made on that backbone.
    """

    consumes: Consumes
    passes_sentences: ClassVar[bool] = True  # whether classes may have sentences where the inner method takes them

    def __init__(self, backbone: FrozenCLIP, inner: AdaptedCLIP):
        if inner.sees is not None:
            raise ValueError(
                "a test-time method stands outermost, because what is around it would not see the test images as it "
                "does; name the method inside and put both wrappers around it, the test-time one first, as in "
                'create_method("coop", ..., wrap=["tpt", "das"])'
            )
        self.takes_sentences = inner.takes_sentences and self.passes_sentences
        super().__init__(backbone, inner.classes)
        self.inner = inner
        withheld = type(self).withholds
        if "class_weights" in withheld:  # what they would not give, those of single images would not give either
            withheld |= {"weights_per_image"}
        self.provides = (inner.provides - {"backward_replicas"} | type(self).provides) - withheld
        self.consumes, self.support_views = inner.consumes, inner.support_views
        self.support_items, self.prepares_again = inner.support_items, inner.prepares_again
        self.mixes_classes = inner.mixes_classes
        self.learns_from_labels, self.needs_whole_batches = inner.learns_from_labels, inner.needs_whole_batches
        self.reads_several_labels = inner.reads_several_labels and not {"prepare", "tune"} & type(self).provides

    @property
    def innermost(self) -> AdaptedCLIP:
        return self.inner.innermost

    @property
    def bound_to_classes(self) -> str | None:
        return self.inner.bound_to_classes

    @property
    def label_thresholds(self) -> Tensor | None:
        return self.inner.label_thresholds

    def encode_image(self, images: Tensor) -> Tensor:
        return self.inner.encode_image(images)

    def image_features_of(self, x: Tensor) -> Tensor:
        return self.inner.image_features_of(self.inner_input(x))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.inner.encode_text(texts)

    def text_features_of(self, features: Tensor) -> Tensor:
        return self.inner.text_features_of(features)

    def logits(self, x: Tensor) -> Tensor:
        return self.inner.logits(self.inner_input(x))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.inner.loss(self.inner_input(x), labels)

    def inner_input(self, x: Tensor) -> Tensor:
        """What this method consumes -> what the inner one does."""
        return convert(self.backbone, x, self.consumes, self.inner.consumes)

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor | None:
        return self.inner.regularizer(self.inner_input(x), labels)

    def hands_out_tokens(self) -> bool:
        return self.inner.hands_out_tokens() and (self.consumes != "images" or self._passes_logits_on())

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.inner.image_tokens(images)

    def logits_of_tokens(self, tokens: Tensor) -> Tensor:
        return self.inner.logits_of_tokens(tokens) if self._passes_logits_on() else super().logits_of_tokens(tokens)

    def _passes_logits_on(self) -> bool:
        return type(self).logits is MethodWrapper.logits

    def undecayed(self) -> set[str]:
        return {INNER + name for name in self.inner.undecayed()}

    def rate_shares(self) -> dict[str, float]:
        return {INNER + name: share for name, share in self.inner.rate_shares().items()}

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        """The inner method's own way to its gradients, unless this one has a loss of its own."""
        if type(self).loss is MethodWrapper.loss:
            return self.inner.backward(self.inner_input(x), labels)
        return super().backward(x, labels)

    def set_classes(self, classnames: Sequence[str] | ClassSet) -> None:
        if self.bound_to_classes is not None:
            raise TypeError(self.bound_to_classes)
        self.inner.set_classes(self.class_set(classnames))
        self.classes = self.inner.classes
        self.rebuild_from_names()

    def rebuild_from_names(self) -> None:
        """Rebuild what the wrapper itself has of the names; the inner method has its new ones already."""
        return None

    def class_weights(self) -> Tensor:
        return self.inner.class_weights()

    def weights_per_image(self, x: Tensor) -> Tensor:
        return self.inner.weights_per_image(self.inner_input(x))

    def prepare(self, support: Support) -> None:
        self.inner.prepare(self._inner_support(support))

    def tune(self, validation: Support) -> None:
        self.inner.tune(self._inner_support(validation))

    @torch.no_grad()
    def _inner_support(self, support: Support) -> Support:
        """The support as the inner method consumes it, made in parts that fit."""
        x = support.x
        if type(self).inner_input is MethodWrapper.inner_input and self.consumes == self.inner.consumes:
            return support
        rows = x.flatten(0, 1) if x.ndim == 5 else x  # (N * V, ...) of (N, V, 3, H, W)
        made = torch.cat([self.inner_input(part) for part in rows.split(SUPPORT_ROWS)])
        return Support(made.unflatten(0, x.shape[:2]) if x.ndim == 5 else made, support.labels)

    def search(self) -> ArchitectureSearch | None:
        return self.inner.search()

    def architecture(self) -> Architecture | None:
        return self.inner.architecture()

    def begin_training(self, step_count: int) -> tuple[int, ...]:
        return self.inner.begin_training(step_count)

    def before_step(self, step: int) -> None:
        self.inner.before_step(step)

    def after_epoch(self, epoch: int) -> None:
        self.inner.after_epoch(epoch)

    def folds_classes(self) -> bool:
        return self.inner.folds_classes() if self._passes_logits_on() else super().folds_classes()

    @contextmanager
    def encode_classes_once(self) -> Iterator[None]:
        with self.inner.encode_classes_once():
            yield

    @contextmanager
    def share_class_weights(self) -> Iterator[Tensor]:
        with self.inner.share_class_weights() as weights:
            yield weights if type(self).class_weights is MethodWrapper.class_weights else self.class_weights()

    def learnt_state(self) -> dict[str, Tensor]:
        own = {
            name: parameter.detach().clone()
            for name, parameter in self.learnt_parameters().items()
            if not name.startswith(INNER)
        }
        return own | {INNER + name: tensor for name, tensor in self.inner.learnt_state().items()}

    def start_state(self) -> dict[str, Tensor]:
        """That of the inner method; what the wrapper itself learns stays as it is."""
        return self.learnt_state() | {INNER + name: tensor for name, tensor in self.inner.start_state().items()}

    def portable_options(self, config: object) -> object:
        return self.inner.portable_options(config)

    def made_again(self) -> set[str]:
        return {INNER + name for name in self.inner.made_again()}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        inner = {name.removeprefix(INNER): tensor for name, tensor in state.items() if name.startswith(INNER)}
        own = {name: parameter for name, parameter in self.learnt_parameters().items() if not name.startswith(INNER)}
        self._copy_into(own, {name: tensor for name, tensor in state.items() if not name.startswith(INNER)})
        self.inner.load_learnt_state(inner)
