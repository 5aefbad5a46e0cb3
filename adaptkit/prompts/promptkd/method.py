"""PromptKD: a prompted image tower that imitates a teacher's class probabilities on images without labels.

Li et al., "PromptKD: Unsupervised Prompt Distillation for Vision-Language Models", arXiv:2403.02781. With the teacher's
image features f_t and class features t (C, D_t), the student's image tower f with prompts of its own in each of the
first blocks, a map h (linear, batch norm, ReLU, linear) into the teacher's space and unit rows n(.):
    q = softmax(exp(s_t) n(f_t(x)) n(t)^T / tau)                     the teacher
    p = softmax(exp(s) n(h(f(x))) n(t)^T / tau)                      the student: no text tower of its own
    L = w tau^2 sum_x KL(q || p) / (B C)                             no labels
The prompts stand as in vpt.py.

The teacher is the backbone's own zero-shot classifier, or any saved adapter with class weights, of this backbone or of
a larger one. It travels with a saved student: as its files, which are small, and as its class features, so that its
backbone is loaded for other class names alone.

The paper's student of a ViT-L/14 sees all training images of all classes, and their names; here a training has the
images of its protocol, without their labels. The released code keeps the epoch that is best on test images, of the base
classes; here it is the last one.

Departure: like the released code, w belongs to a number of classes, by which the loss is divided.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.artefacts.files import CONFIG_FILE, ArtefactFiles, read_files
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.layers.deep_prompts import by_layer, vision_prompts
from adaptkit.layers.text_state import as_tensor, as_text
from adaptkit.prompts.promptkd.config import KEPT, PromptKDConfig, teacher_file
from adaptkit.prompts.promptkd.feature_map import FeatureMap
from adaptkit.prompts.promptkd.teacher import OwnTeacher, SavedTeacher

MAP = "feature_map."
# What is kept of a saved teacher: its two files, whose features are kept, and these, (C, D_t).
CONFIG, TENSORS, NAMES, FEATURES = "teacher.config", "teacher.tensors", "teacher.classnames", "teacher.features"


@register_method("promptkd", PromptKDConfig, touches="before")
class PromptKD(AdaptedCLIP):
    """Prompted image features (B, D), mapped to (B, D_t), against the teacher's class features (C, D_t)."""

    is_usual = False  # many passes before its map says anything
    consumes = "images"
    provides = frozenset({"class_weights", "encode_text"})
    takes_sentences = True  # Where the teacher's prompts are hand-written; a saved one refuses them itself.
    learns_from_labels = False
    needs_whole_batches = True

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: PromptKDConfig):
        super().__init__(backbone, classes)
        self.config = config
        self.vision_prompts = vision_prompts(backbone, config.n_ctx, config.depth, "promptkd")
        # None stands for a teacher that comes with learnt tensors which are not here yet.
        self.teacher: OwnTeacher | SavedTeacher | None = None
        if not config.teacher:
            self.teacher = OwnTeacher(backbone, classes)
        elif config.teacher != KEPT:
            self.teacher = SavedTeacher(_files_of(config.teacher), backbone)
            self.teacher.set_classes(classes)
        width = backbone.embed_dim if self.teacher is None else self.teacher.width
        self.feature_map = FeatureMap(backbone.embed_dim, width, backbone.device)

    def take_teacher(self, teacher: AdaptedCLIP) -> None:
        """Imitate a teacher that is loaded already; the map into its space starts anew where that has another width.

        The teacher is frozen, and is given the student's classes.

        Raises:
            ValueError: if it has no class weights, or does not tell these classes apart.

        Example:
            ```python
            backbone = adaptkit.load_backbone("adaptkit-mini")
            teacher = adaptkit.create_method("promptsrc", backbone, ["corgi", "husky"])
            student = adaptkit.create_method("promptkd", backbone, ["corgi", "husky"])
            student.take_teacher(teacher)
            loss = student.loss(torch.rand(4, 3, 48, 48), torch.zeros(4, dtype=torch.int64))  # labels are not read
            ```
        """
        taken = SavedTeacher.of_method(teacher, self.backbone)
        taken.set_classes(self.classes)
        self.teacher = taken
        self._fit_map(taken.width)

    def _fit_map(self, width: int) -> None:
        if width != self.feature_map.outer.out_features:
            dtype, training = self.feature_map.outer.weight.dtype, self.feature_map.training
            made = FeatureMap(self.backbone.embed_dim, width, self.device).to(dtype)
            self.feature_map = made.train(training)

    def _teacher(self) -> OwnTeacher | SavedTeacher:
        if self.teacher is None:
            raise ValueError(
                f"teacher={KEPT!r} stands for one that comes with an adapter; name one, or load an adapter"
            )
        return self.teacher

    def encode_image(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> image features (B, D_t) in the teacher's space, not normalised."""
        prompts = by_layer(self.vision_prompts, first=0)
        mapped: Tensor = self.feature_map(self.backbone.encode_image(images, prompts))
        return mapped

    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        features = self.encode_image(images)  # (B, D_t)
        return self.backbone.logits(features, self.current_class_weights().to(features))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> scalar; the labels are not read."""
        student = self.logits(images)
        teacher = self._teacher().logits(images).to(student)
        return distillation_loss(student, teacher, self.config.weight, self.config.temperature)

    def class_weights(self) -> Tensor:
        """The teacher's class features (C, D_t), unit rows."""
        return self._teacher().class_features()

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> the teacher's text features (N, D_t), not normalised."""
        return self._teacher().encode_text(texts)

    def rebuild_from_names(self) -> None:
        self._teacher().set_classes(self.classes)

    @property
    def bound_to_classes(self) -> str | None:
        return None if self.teacher is None else self.teacher.bound_to_classes

    def portable_options(self, config: object) -> object:
        assert isinstance(config, PromptKDConfig)
        kept = KEPT if isinstance(self.teacher, SavedTeacher) else config.teacher
        return dataclasses.replace(config, teacher=kept)

    def learnt_state(self) -> dict[str, Tensor]:
        """Copies of the prompts, of the map with its running averages, and of a saved teacher."""
        averages = self.feature_map.averages().items()
        state = super().learnt_state() | {MAP + name: tensor.detach().clone() for name, tensor in averages}
        if isinstance(self.teacher, SavedTeacher):
            state |= {
                CONFIG: as_tensor(self.teacher.files.config),
                TENSORS: torch.frombuffer(bytearray(self.teacher.files.tensors), dtype=torch.uint8),
                NAMES: as_tensor(json.dumps(self.classes.classnames)),
                FEATURES: self.teacher.class_features().clone(),
            }
        elif self.teacher is None:
            nothing = torch.zeros(0, dtype=torch.uint8)
            state |= {CONFIG: nothing, TENSORS: nothing, NAMES: nothing, FEATURES: torch.zeros(0, 0)}
        return state

    def load_learnt_state(self, state: Mapping[str, Tensor]) -> None:
        """Put learnt tensors back; a teacher comes with them unless there is one already.

        Raises:
            ValueError: if they do not fit this method or each other.
        """
        expected = self.learnt_state()
        if state.keys() != expected.keys():
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; expected {sorted(expected)}")
        if (state[MAP + "norm.running_var"] < 0).any():
            raise ValueError(f"{MAP}norm.running_var has negative variances, so it is damaged")
        kept = {CONFIG, TENSORS, NAMES, FEATURES} & state.keys()
        if kept and self.teacher is None:
            self._take_kept(state)
        averages = {MAP + name: tensor for name, tensor in self.feature_map.averages().items()}
        own = {**self.learnt_parameters(), **averages}
        self._copy_into(own, {name: tensor for name, tensor in state.items() if name not in kept})
        # Later batches are averaged into these, so one image may be left over from now on.
        assert self.feature_map.norm.num_batches_tracked is not None
        self.feature_map.norm.num_batches_tracked.clamp_(min=1)

    def _take_kept(self, state: Mapping[str, Tensor]) -> None:
        """Take the teacher that learnt tensors hold, and its features where they are of our classes."""
        features, width = state[FEATURES], len(state[MAP + "outer.bias"])
        config, names = as_text(state[CONFIG]), tuple(json.loads(as_text(state[NAMES]) or "[]"))
        if state[TENSORS].dtype != torch.uint8 or features.shape != (len(names), width):
            raise ValueError(
                f"{FEATURES} has shape {tuple(features.shape)}; expected {(len(names), width)}, of {len(names)} "
                f"classes in the space that the map leads to, beside {TENSORS} as bytes"
            )
        files = ArtefactFiles("the teacher of this adapter", config, state[TENSORS].cpu().numpy().tobytes())
        teacher = SavedTeacher(files, self.backbone, features.to(self.device))
        if names != self.classes.classnames:
            teacher.set_classes(self.classes)
        self.teacher = teacher
        self._fit_map(width)


def distillation_loss(student: Tensor, teacher: Tensor, weight: float, temperature: float) -> Tensor:
    """w tau^2 KL(q || p), summed over images and classes and divided by their number.

    Args:
        student: logits (B, C) of p.
        teacher: logits (B, C) of q.
        weight: the factor w.
        temperature: the divisor tau of both.
    """
    log_p, log_q = (student / temperature).log_softmax(dim=-1), (teacher / temperature).log_softmax(dim=-1)
    divergence = F.kl_div(log_p, log_q, reduction="sum", log_target=True) / log_p.numel()
    return weight * temperature**2 * divergence


def _files_of(teacher: str) -> ArtefactFiles:
    """The files of a teacher by its path."""
    path = teacher_file(teacher)
    return read_files(path.parent if path.name == CONFIG_FILE else path)
