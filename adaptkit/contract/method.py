"""AdaptedCLIP: what every method promises, whatever it learns."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet, as_class_set
from adaptkit.contract.architecture import Architecture, ArchitectureSearch
from adaptkit.contract.prediction import Images, Prediction, predict

if TYPE_CHECKING:
    from adaptkit.artefacts.card import TrainingFacts

Consumes = Literal["features", "tokens", "images"]
# Parts of the contract that a method may leave out.
Optional = Literal["prepare", "tune", "class_weights", "backward", "image_tokens"]


@dataclass(frozen=True)
class Support:
    """Labelled examples: x is what the method consumes, (N, ...) or (N, V, ...) for V views each; labels (N,) int64."""

    x: Tensor
    labels: Tensor


@dataclass(frozen=True)
class MethodSpec:
    """What `create_method` made a method of: enough to make another like it on the same backbone."""

    name: str
    config: object  # the method's options as its dataclass
    wrappers: tuple[tuple[str, object], ...] = ()  # names of wrappers with their options


class AdaptedCLIP(nn.Module, ABC):
    """A frozen CLIP with something learnt around it; the learnt tensors are its only parameters that need gradients.

    A method writes `consumes`, `logits` and `loss`, and `set_classes` and `class_weights` where they make sense. It may
    write `prepare`, `tune`, `search`, `backward` and `after_epoch`. One whose loss is more than the cross-entropy of
    its logits writes `regularizer`; one that consumes images and classifies the projected class token against its
    class weights writes `image_tokens`. The rest stays as it is here. Beside the learnt tensors, training may change
    persistent buffers (PromptSRC's average); whatever else it changes, `training_state` must bring.
    """

    # "features" (B, D) where the image tower is untouched; "tokens" (B, 1 + P, D_v), the output rows of its last block
    # with the class token's first, where patches are read as well; else "images" (B, 3, H, W).
    consumes: Consumes
    support_views: int = 0  # V random views of each support image that `prepare` wants; 0: the image as it is
    support_items: int | None = None  # training items that `prepare` wants, spread over all; None: all of them
    prepares_again: bool = False  # whether `prepare` is to be called again when the image tower has learnt

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet):
        super().__init__()
        self.backbone = backbone
        self.classes = classes
        self.spec: MethodSpec | None = None  # None where it was made without `create_method`
        self._kept_weights: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) -> logits (B, C), whatever the method consumes."""
        return self.logits(self.consume(images))

    def consume(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) -> what the method consumes of them."""
        if self.consumes == "images":
            return images
        return (
            self.backbone.encode_image(images) if self.consumes == "features" else self.backbone.encode_tokens(images)
        )

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """What the method consumes -> logits (B, C)."""

    @abstractmethod
    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """What the method consumes, labels (B,) int64 -> scalar."""

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor | None:
        """What `loss` adds to the cross-entropy of `logits`: a scalar, or None for nothing."""
        return None

    def hands_out_tokens(self) -> bool:
        """Whether `image_tokens` and `logits_of_tokens` are to be had."""
        return self.consumes != "images" or self.writes("image_tokens")

    def image_tokens(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> output rows (B, 1 + P, D_v) of the image tower as this method runs it.

        Raises:
            TypeError: if the method changes the image tower and does not say how its rows come about.
        """
        if self.consumes == "images":
            raise TypeError(f"{type(self).__name__} runs an image tower of its own and does not hand out its rows")
        return self.backbone.encode_tokens(images)

    def logits_of_tokens(self, tokens: Tensor) -> Tensor:
        """What `image_tokens` gives, (B, 1 + P, D_v) -> logits (B, C), the same as of the images themselves."""
        if self.consumes == "tokens":
            return self.logits(tokens)
        image_features = self.backbone.project_tokens(tokens[:, 0])
        if self.consumes == "features":
            return self.logits(image_features)
        return self.backbone.logits(image_features, self.current_class_weights())

    def undecayed(self) -> set[str]:
        """Names of the learnt tensors that take no weight decay, whatever the optimiser's is."""
        return set()

    def set_classes(self, classes: Sequence[str] | ClassSet) -> None:
        """Tell other classes apart: what is learnt stays, what depends on the names is rebuilt.

        Raises:
            TypeError: if what is learnt belongs to the classes it was learnt on.
        """
        raise TypeError(f"{type(self).__name__} is bound to the {len(self.classes)} classes it was made for")

    def class_weights(self) -> Tensor:
        """The classifier (C, D), unit rows, that the images' features meet; the same for every image.

        Raises:
            TypeError: if the method has none, because its prompts or its head depend on the image.
        """
        raise TypeError(f"{type(self).__name__} has no class weights that hold for every image")

    def prepare(self, support: Support) -> None:
        """See all of the support set once, before training."""
        return None

    def tune(self, validation: Support) -> None:
        """Choose the method's own hyper-parameters on validation images, after training.

        Test images are for a comparison that is called "oracle" wherever its result stands.
        """
        return None

    def search(self) -> ArchitectureSearch | None:
        """What has to be found out before training: which blocks to skip. None where nothing has to."""
        return None

    def architecture(self) -> Architecture | None:
        """Which blocks are skipped, and what that costs; None where every block of the towers runs."""
        return None

    def writes(self, part: Optional) -> bool:
        """Whether the method has its own version of an optional part of the contract."""
        return getattr(type(self), part) is not getattr(AdaptedCLIP, part)

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of one batch in `.grad`; returns the loss, detached."""
        loss = self.loss(x, labels)
        if loss.requires_grad:  # nothing to learn, nothing to do
            loss.backward()
        return loss.detach()

    def after_epoch(self, epoch: int) -> None:
        """Called when epoch `epoch`, counted from 0, is over."""
        return None

    @contextmanager
    def encode_classes_once(self) -> Iterator[None]:
        """Inside the block, class weights are encoded once; nothing may be learnt there. Blocks may be nested."""
        kept = self._kept_weights
        self._kept_weights = self._weights_or_none() if kept is None else kept
        try:
            yield
        finally:
            self._kept_weights = kept

    @torch.no_grad()
    def _weights_or_none(self) -> Tensor | None:
        return self.class_weights() if self.writes("class_weights") else None

    def current_class_weights(self) -> Tensor:
        """`class_weights`, or the ones kept by `encode_classes_once`."""
        return self.class_weights() if self._kept_weights is None else self._kept_weights

    def learnt_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that need gradients, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def learnt_state(self) -> dict[str, Tensor]:
        """Copies of the learnt tensors: all that has to be kept of a trained method."""
        return {name: parameter.detach().clone() for name, parameter in self.learnt_parameters().items()}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        """Put learnt tensors back.

        Raises:
            ValueError: if names or shapes are not this method's.
        """
        self._copy_into(self.learnt_parameters(), state)

    def training_state(self) -> dict[str, Tensor]:
        """Copies of all that training changes: what a method, made and prepared alike, needs to go on from here.

        The learnt parameters as the optimiser steps them, and the persistent buffers outside the backbone.
        """
        return {name: tensor.detach().clone() for name, tensor in self._training_tensors().items()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `training_state` gave; the method must be in the mode (training, eval) that it was in then.

        Raises:
            ValueError: if names or shapes are not this method's.
        """
        self._copy_into(self._training_tensors(), state)

    def _training_tensors(self) -> dict[str, Tensor]:
        persistent = self.state_dict().keys()
        buffers = {
            name: buffer
            for name, buffer in self.named_buffers()
            if name in persistent and "backbone" not in name.split(".")
        }
        return {**self.learnt_parameters(), **buffers}

    @staticmethod
    def _copy_into(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        if own.keys() != state.keys():
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; expected {sorted(own)}")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(f"{name} has shape {tuple(state[name].shape)}; expected {tuple(tensor.shape)}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def predict(self, images: Images, topk: int = 5, batch_size: int = 64) -> list[Prediction]:
        """Classify preprocessed images (B, 3, H, W), paths, PIL images, or one of these: `prediction.predict`."""
        return predict(self, images, topk, batch_size)

    def save_pretrained(self, folder: str | Path, training: "TrainingFacts | None" = None) -> Path:
        """Write an adapter, `artefacts.save_pretrained`; `adaptkit.load` reads it."""
        from adaptkit.artefacts.saving import save_pretrained  # which makes methods, and so imports this module

        return save_pretrained(self, folder, training)

    def push_to_hub(self, repository: str, training: "TrainingFacts | None" = None, *, private: bool = False) -> str:
        """Write an adapter into a hub repository, `artefacts.push_to_hub`; returns its address."""
        from adaptkit.artefacts.saving import push_to_hub

        return push_to_hub(self, repository, training, private=private)

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @staticmethod
    def _class_set(classes: Sequence[str] | ClassSet, like: ClassSet) -> ClassSet:
        """New names with the old templates, unless a `ClassSet` brings its own."""
        return classes if isinstance(classes, ClassSet) else as_class_set(classes, like.templates)
