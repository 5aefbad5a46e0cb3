"""2SFS: first the layer norms of both towers, then a classifier from the adapted texts; no validation images.

Farina et al., "Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages", arXiv:2503.11609. One budget of
steps, of which a share alpha is the first stage; with image features f, text features g, unit rows n(.):
    stage 1    logits = exp(logit_scale) n(f(x)) n(g(t))^T    layer norms of the blocks learn, texts are encoded anew
    stage 2    logits = exp(logit_scale) n(f(x)) n(A)^T       A (C, D) learns from n(g(t)) on; the towers stand still
Each stage has an optimiser and a cosine of its own. Afterwards a class of the training keeps its row of A, and any
other class has the feature of its text from the adapted tower, also where both are asked for together.

The paper tunes all layer norms. Its released code means to, and freezes ln_pre, ln_post and ln_final again on a second
visit of the same modules; its numbers are of the norms of the blocks, which is the default here.

Departure: the released code begins a new pass over the images with stage 2; here the pass under way goes on.
Departure: the released code takes the data set's first template; here the features of several are averaged.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.artefacts.tensors import check_dtype
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import chosen_layers, require_text_blocks
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.start_values import start_of
from adaptkit.layers.text_state import as_tensor, as_text
from adaptkit.layers.tuned_towers import with_tuned_biases, with_tuned_norms
from adaptkit.options import option, options
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower
from adaptkit.weights.clip_lora import CLIPLoRAConfig, low_rank_updates, with_updates

Tower = TypeVar("Tower", TextTower, VisionTower)
NAMES = "classnames"  # the tensor of `learnt_state` that says whose rows the classifier has


@options
class TwoStageConfig:
    share: float = option(0.6, "The share alpha of all steps in the first stage.", least=0, most=1)
    tuning: Literal["ln", "bitfit", "lora"] = option(
        "ln", "What the first stage tunes: layer norms, biases, or low-rank updates as clip_lora's defaults."
    )
    norms: Literal["blocks", "all"] = option(
        "blocks", "Layer norms of ln: of the blocks, as released, or those outside of them, too."
    )
    encoder: Literal["both", "text", "vision"] = option("both", "Towers that the first stage tunes.")
    text_start: int = option(0, "The first text block that is tuned, counted from 0.", least=0)
    vision_start: int = option(0, "The first vision block that is tuned, counted from 0.", least=0)


@register_method("two_stage", TwoStageConfig, touches="inside")
class TwoStage(AdaptedCLIP):
    """Image features (B, D) against text features (C, D), through tuned towers, and later against a classifier (C, D).

    A training loop of one's own calls `begin_training` and `before_step`; without them all steps are of stage 1.
    """

    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights", "image_tokens", "encode_text", "start_state"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: TwoStageConfig):
        text, vision = backbone.text_tower, backbone.vision_tower
        text_tuned, vision_tuned = nn.ModuleDict(), nn.ModuleDict()
        if config.share and config.encoder != "vision":
            tower = require_text_blocks(backbone, "two_stage")
            text, text_tuned = _tuned(tower, _layers_from(config.text_start, tower, "text_start"), config)
        if config.share and config.encoder != "text":
            image_tower = backbone.require_vit_blocks(f'two_stage with encoder="{config.encoder}"')
            layers = _layers_from(config.vision_start, image_tower, "vision_start")
            vision, vision_tuned = _tuned(image_tower, layers, config)
        super().__init__(backbone.with_towers(text=text, vision=vision), classes)
        self.frozen_towers = backbone.text_tower, backbone.vision_tower
        self.share, self.first = config.share, 0
        self.text_tuned, self.vision_tuned = text_tuned, vision_tuned  # layer -> its tuned parts
        if not config.share:
            self.provides = self.provides - {"encode_text"}
        if not len(vision_tuned):
            self.consumes = "features"
        self.prompts = ClassPrompts(self.backbone, classes, noise="per_class" if config.tuning == "lora" else "shared")
        self.classifier: nn.Parameter | None = None  # A (C, D), a row for each of `learnt_names`
        self.learnt_names: tuple[str, ...] = ()
        self.in_second = False
        if config.share < 1:
            self._give_rows(torch.zeros(len(classes), backbone.embed_dim, device=self.device))
        if not config.share:
            self._take_classifier()

    def begin_training(self, step_count: int) -> tuple[int, ...]:
        self.first = int(self.share * step_count)
        if self.classifier is None:
            return (step_count,)
        if self.learnt_names != self.classes.classnames:
            rows = self.classifier.new_zeros(len(self.classes), self.backbone.embed_dim)
            self._give_rows(self.class_weights() if self.in_second else rows)
        return self.first, step_count - self.first

    def before_step(self, step: int) -> None:
        """Enter the stage of a step: at its beginning the second takes its classifier from the adapted texts."""
        if self.classifier is None:
            return
        goes_on = self.in_second and self.first == 0  # from a classifier that is there already
        self.in_second = step >= self.first
        if step == self.first and not goes_on:
            self._take_classifier()

    @torch.no_grad()
    def _take_classifier(self) -> None:
        assert self.classifier is not None
        was_training = self.training
        self.eval()
        self.classifier.copy_(self.prompts())
        self.train(was_training)
        self.in_second = True

    def _give_rows(self, rows: Tensor) -> None:
        """Make a classifier of other rows (C, D), those of the classes of now."""
        self.classifier = nn.Parameter(at_least_fp32(rows.detach()).clone())
        self.learnt_names = self.classes.classnames

    def logits(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W), or image features (B, D) where the image tower is not tuned -> logits (B, C)."""
        image_features = self.encode_image(x) if self.consumes == "images" else x  # (B, D)
        return self.backbone.logits(image_features, self.current_class_weights())

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels)

    def _towers_learn(self) -> bool:
        """Whether gradients are wanted in the towers: in the second stage of a training they are not."""
        return torch.is_grad_enabled() and not (self.in_second and self.training)

    def encode_image(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(self._towers_learn()):
            return self.backbone.encode_image(images)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        with torch.set_grad_enabled(self._towers_learn()):
            return super().encode_text(texts)

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.backbone.encode_tokens(images)

    def class_weights(self) -> Tensor:
        """Unit rows (C, D): of the texts in stage 1, then of the classifier where it has the class, else of texts."""
        if not self.in_second or self.classifier is None:
            return self.prompts()
        learnt = F.normalize(self.classifier, dim=-1)
        if self.classes.classnames == self.learnt_names:
            return learnt
        rows = torch.tensor(_rows_of(self.classes.classnames, self.learnt_names), device=learnt.device)
        known = (rows >= 0)[:, None]
        if bool(known.all()):
            return learnt[rows]
        return torch.where(known, learnt[rows.clamp(min=0)], self.prompts().to(learnt))

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)

    def learnt_state(self) -> dict[str, Tensor]:
        """Copies of the learnt tensors, and the names of the classifier's rows: none before the second stage."""
        state = super().learnt_state()
        if self.classifier is None:
            return state
        return state | {NAMES: as_tensor(json.dumps(self.learnt_names if self.in_second else ()))}

    @torch.no_grad()
    def start_state(self) -> dict[str, Tensor]:
        """The backbone's norms or biases, or updates of 0; the classifier's rows are of its classes' frozen texts."""
        start = start_of(self, "text_tuned", "vision_tuned")
        if self.classifier is None:
            return start
        rows = self.classifier.detach().clone()
        if self.in_second:
            text, vision = self.frozen_towers
            rows = class_weights(self.backbone.with_towers(text=text, vision=vision), self._learnt_classes()).to(rows)
        return start | {"classifier": rows, NAMES: self.learnt_state()[NAMES]}

    def _learnt_classes(self) -> ClassSet:
        """The classes of the classifier's rows; after a change of classes, with the templates of now."""
        if self.learnt_names == self.classes.classnames:
            return self.classes
        return ClassSet(self.learnt_names, self.classes.templates)

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        own = self.learnt_parameters()
        if self.classifier is None:
            self._copy_into(own, state)
            return
        names, rows = _read_classifier(state, own["classifier"])
        self._copy_into(
            {name: parameter for name, parameter in own.items() if name != "classifier"},
            {name: tensor for name, tensor in state.items() if name not in ("classifier", NAMES)},
        )
        self.in_second = bool(names)
        if names and names == self.learnt_names:
            with torch.no_grad():  # In place: an optimiser may hold it.
                self.classifier.copy_(rows)
        elif names:
            self.classifier = nn.Parameter(rows.to(own["classifier"]).clone())
            self.learnt_names = names

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.in_second])

    def set_extra_state(self, state: Tensor) -> None:
        self.in_second = bool(state)


def _layers_from(start: int, tower: TextTower | VisionTower, name: str) -> list[int]:
    if start >= tower.depth:
        raise ValueError(f"{name}={start}; the tower has blocks 0 to {tower.depth - 1}, choose one of them")
    return [layer for layer in chosen_layers((), tower, name) if layer >= start]


def _tuned(tower: Tower, layers: Sequence[int], config: TwoStageConfig) -> tuple[Tower, nn.ModuleDict]:
    """The tower with parts that learn, and those parts."""
    if config.tuning == "ln":
        return with_tuned_norms(tower, layers, ends=config.norms == "all")
    if config.tuning == "bitfit":
        return with_tuned_biases(tower, layers)
    updates = low_rank_updates(tower, layers, CLIPLoRAConfig())
    return with_updates(tower, updates), updates


def _rows_of(asked: Sequence[str], learnt: Sequence[str]) -> list[int]:
    """For each class its row in the classifier, -1 where it has none; of equal names each has its own, in order."""
    left: dict[str, list[int]] = {}
    for row, name in enumerate(learnt):
        left.setdefault(name, []).append(row)
    return [left[name].pop(0) if left.get(name) else -1 for name in asked]


def _read_classifier(state: Mapping[str, Tensor], own: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """The names of a saved classifier and its rows (C, D), which has as many columns as our own.

    Raises:
        ValueError: if they are missing or do not fit together.
    """
    if not {"classifier", NAMES} <= state.keys():
        raise ValueError(f"learnt tensors {sorted(state)} have no classifier with its {NAMES}")
    rows, names = state["classifier"], json.loads(as_text(state[NAMES]))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{NAMES} is no list of names")
    check_dtype("classifier", rows, own)
    if names and rows.shape != (len(names), own.shape[1]):
        raise ValueError(f"classifier has shape {tuple(rows.shape)}; expected {(len(names), own.shape[1])}")
    return tuple(names), rows
