"""AdaptedTowers: CLIP's two towers with something learnt in or around them, whatever it is used for."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from adaptkit.artefacts import saving
from adaptkit.artefacts.card import TrainingFacts
from adaptkit.artefacts.tensors import check_dtype, check_learnt
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.inputs import Consumes, convert
from adaptkit.backbone.test_views import TestViews
from adaptkit.calibration.calibration import Calibration
from adaptkit.classes.class_set import ClassSet

# Parts of the contract that a method may leave out; `provides` names the ones that it has.
Part = Literal[
    "prepare",
    "tune",
    "class_weights",
    "weights_per_image",
    "backward",
    "backward_replicas",
    "image_tokens",
    "encode_text",
    "text_features_of",
    "start_state",
]
PARTS: tuple[Part, ...] = get_args(Part)
READY_MADE: frozenset[Part] = frozenset({"image_tokens", "encode_text"})  # may be declared without being written


@dataclass(frozen=True)
class MethodSpec:
    """What `create_method` made a method of: enough to make another like it on the same backbone."""

    name: str
    config: object  # the method's options as its dataclass
    wrappers: tuple[tuple[str, object], ...] = ()  # names of wrappers with their options


class AdaptedTowers(nn.Module, ABC):
    """A frozen CLIP with something learnt in or around its towers: two encoders that can be trained, saved and loaded.

    The learnt tensors are its only parameters that need gradients. Beside them, training may change persistent
    buffers, such as PromptSRC's average. Where it changes anything else, the class extends `training_state` by it.
    """

    consumes: Consumes  # the kind of input that training and evaluation hand over; see `inputs`
    provides: frozenset[Part] = frozenset()  # optional parts that this class, or this instance, has
    needs_whole_batches: bool = False  # whether what one image gives depends on the others of its training batch
    is_head: ClassVar[bool] = False  # whether it answers something else than classes
    test_views: TestViews | None = None  # views of each test image that it wants; None: the image as it is
    withholds: ClassVar[frozenset[Part]] = frozenset()  # parts that a wrapper refuses, whatever its inner method has
    classes: ClassSet
    calibration: Calibration | None = None  # of one that tells classes apart
    _contract: ClassVar[type["AdaptedTowers"]]  # the class whose parts do nothing, or pass on

    def __init_subclass__(cls, *, is_contract: bool = False, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if is_contract:
            cls._contract = cls
        else:
            check_declaration(cls, cls._contract)

    def __init__(self, backbone: FrozenCLIP):
        super().__init__()
        self.backbone = backbone
        self.spec: MethodSpec | None = None  # None where it was made without `create_method`

    def consume(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) -> the kind of input that this method consumes."""
        return convert(self.backbone, images, "images", self.consumes)

    def encode_image(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) -> image features (B, D) with what was learnt, not normalised."""
        return self.backbone.encode_image(images)

    def image_features_of(self, x: Tensor) -> Tensor:
        """Input of the kind that this method consumes -> image features (B, D), as `encode_image` has of its images."""
        if self.consumes == "images":
            return self.encode_image(x)
        return convert(self.backbone, x, self.consumes, "features")

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> text features (N, D) with what was learnt, not normalised.

        A method that learns the words of a prompt puts its prompt around every text.

        Raises:
            TypeError: if what is learnt on the text side belongs to classes or to images.
            ValueError: if a text is longer than the context.
        """
        if "encode_text" not in self.provides:
            raise TypeError(
                f"{type(self).__name__} learns nothing that changes the feature of any text; encode texts with its "
                "backbone, or take a method that adapts the text tower, such as clip_lora"
            )
        return self.backbone.encode_text(texts)

    def text_features_of(self, features: Tensor) -> Tensor:
        """Features (N, D) of the frozen text tower -> text features (N, D), as `encode_text` has of the texts.

        A method that learns behind the text tower writes it, so that a training encodes every text once.

        Raises:
            TypeError: if what is learnt on the text side does not stand behind the frozen tower.
        """
        raise TypeError(
            f"{type(self).__name__} learns nothing behind the text tower alone; give the texts to `encode_text`"
        )

    def undecayed(self) -> set[str]:
        """Names of the learnt tensors that take no weight decay, whatever the optimiser's is."""
        return set()

    def rate_shares(self) -> dict[str, float]:
        """Learnt tensor -> the share of the learning rate that it is stepped by; those without a share take all."""
        return {}

    def begin_training(self, step_count: int) -> tuple[int, ...]:
        """Called before the optimiser of a training of so many steps is made: the lengths of its stages.

        A schedule by steps falls anew in each stage; a learnt tensor that has no gradient in one stands still there.
        """
        return (step_count,)

    def before_step(self, step: int) -> None:
        """Called before step `step`, counted from 0, of the training that `begin_training` has announced.

        A training that goes on from a checkpoint calls it first for the step after the last one.
        """
        return None

    def after_epoch(self, epoch: int) -> None:
        """Called when epoch `epoch`, counted from 0, is over."""
        return None

    def learnt_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that need gradients, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def learnt_state(self) -> dict[str, Tensor]:
        """Copies of the learnt tensors, by name: all that has to be kept of a trained method."""
        return {name: parameter.detach().clone() for name, parameter in self.learnt_parameters().items()}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        """Put learnt tensors back.

        Raises:
            ValueError: if names, shapes or types are not this method's.
        """
        self._copy_into(self.learnt_parameters(), state)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> "_IncompatibleKeys":
        """torch's own, for learnt tensors that are numbers of a training.

        Raises:
            ValueError: if a learnt tensor is of another type, not finite, or absurdly large; nothing changes then.
        """
        for name, tensor in self._training_tensors().items():
            if name in state_dict:
                check_dtype(name, state_dict[name], tensor)
                check_learnt(name, state_dict[name])
        return super().load_state_dict(state_dict, strict, assign)

    def start_state(self) -> dict[str, Tensor]:
        """The learnt state beside the one of now at which CLIP's weights are those that were loaded.

        A method that learns weights writes it: between this state and that of now, tensor by tensor, lies a line of
        weights, (1 - alpha) w_0 + alpha w_1. Where a product of tensors is learnt, one factor has its value of now.

        Raises:
            TypeError: if something else than weights is learnt.
        """
        raise TypeError(
            f"{type(self).__name__} learns something beside CLIP's weights, which have no line to where they were"
        )

    def made_again(self) -> set[str]:
        """Names in `learnt_state` that a new method has alike, and that adapters of older versions may lack."""
        return set()

    def training_state(self) -> dict[str, Tensor]:
        """Copies of all that training changes: what a method, made and prepared alike, needs to go on from here.

        These are the learnt parameters as the optimiser steps them, and the persistent buffers outside the backbone.
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
            check_dtype(name, state[name], tensor)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    @property
    def bound_to_classes(self) -> str | None:
        """Why what is learnt belongs to the classes that it was learnt on; None where other names can take over."""
        return None

    def portable_options(self, config: object) -> object:
        """The options of this method as an adapter keeps them: without paths of the machine that saves it."""
        return config

    def save_pretrained(self, folder: str | Path, training: TrainingFacts | None = None) -> Path:
        """Write an adapter into a folder: `artefacts.saving.save_pretrained`. `adaptkit.load` reads it.

        Example:
            ```python
            backbone = adaptkit.load_backbone("adaptkit-mini")
            method = adaptkit.create_method("taskres", backbone, ["corgi", "husky"])
            method.save_pretrained("my_adapter")
            ```
        """
        return saving.save_pretrained(self, folder, training)

    def push_to_hub(self, repository: str, training: TrainingFacts | None = None, *, private: bool = False) -> str:
        """Write an adapter into a repository of the hub, `artefacts.saving.push_to_hub`; returns its address."""
        return saving.push_to_hub(self, repository, training, private=private)

    @property
    def device(self) -> torch.device:
        """Where the backbone is, and so where inputs are expected."""
        return self.backbone.device


def check_declaration(method: type[AdaptedTowers], plain: type[AdaptedTowers]) -> None:
    """Hold the parts that a class writes against the ones that it declares in `provides`.

    Args:
        plain: the class of the contract whose parts do nothing, or pass on.

    Raises:
        TypeError: if a part is written and not declared, which would leave it unused, or declared and not written.
    """
    for part in PARTS:
        is_written = getattr(method, part, None) is not getattr(plain, part, None)
        if is_written and part not in method.provides | method.withholds:
            raise TypeError(f"{method.__name__} writes {part} and does not declare it; add {part!r} to `provides`")
        if part in method.provides and not is_written and part not in READY_MADE:
            raise TypeError(f"{method.__name__} declares {part!r} in `provides` and does not write it; write {part}")
