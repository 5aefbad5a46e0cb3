"""Classification by description: an image belongs to the class whose descriptors it fits best on average.

Menon & Vondrick, "Visual Classification via Description from Large Language Models", arXiv:2210.07183. For a class c
with descriptors D(c), phrases u(c, d) = normalise(g("name, which has d")) and an image f:
    score(c) = mean_{d in D(c)} cos(f, u(c, d)),    logits = exp(logit_scale) * score
The mean is of cosines and is not brought to unit length again. Weights a(c, d) that sum to 1 may take the place of the
mean; they are given in the file, or learnt by cross-entropy, as a softmax over the descriptors of a class.

Departure: the logits have CLIP's scale, which changes probabilities and no answer; the released code has none.
Departure: a class of an empty list is read by its own prompts; the released code reads "name, which has " and nothing.
Departure: clauses are chosen by whole words, see `adaptkit.texts.phrases`.
Departure: learnt weights, weights from a file, random phrases (Roth et al., arXiv:2306.07282) and the renormalised mean
    of full sentences (Pratt et al., arXiv:2209.03320) are additions.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import LiveTexts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.reasons import Reasons
from adaptkit.contract.registry import register_method
from adaptkit.layers.text_state import as_tensor, as_text
from adaptkit.regular_file import shortened
from adaptkit.texts.classify_by_description.config import KEPT, ClassifyByDescriptionConfig, descriptions_file
from adaptkit.texts.classify_by_description.contributions import Parts, class_scores, reasons
from adaptkit.texts.descriptions import DescriptionError, Descriptions, parse_descriptions, read_descriptions
from adaptkit.texts.waffle import random_phrases


@dataclass(frozen=True)
class Phrase:
    """One text that speaks for a class."""

    text: str  # as CLIP reads it
    said: str  # as its file has it
    weight: float = 1.0


@register_method("classify_by_description", ClassifyByDescriptionConfig, touches="class_side")
class ClassifyByDescription(AdaptedCLIP):
    """Frozen image features (B, D) against the phrases (N, D) of all classes."""

    consumes = "features"
    takes_sentences = True
    provides = frozenset({"class_weights", "encode_text"})
    owners: Tensor
    shares: Tensor

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: ClassifyByDescriptionConfig):
        super().__init__(backbone, classes)
        self.config = config
        self.descriptions = read_descriptions(descriptions_file(config.descriptors))
        self.is_waiting = config.descriptors == KEPT  # for the descriptions among its learnt tensors
        if not config.is_unit:
            self.provides = self.provides - {"class_weights"}  # the mean of cosines has no unit rows
        self.rebuild_from_names()

    def rebuild_from_names(self) -> None:
        classes = self.classes
        named = zip(classes.classnames, classes.readable, self._prompts(), strict=True)
        phrases = [self._phrases_of(name, said, own) for name, said, own in named]
        counts = torch.tensor([len(own) for own in phrases], dtype=torch.int64, device=self.device)
        if self.config.aggregate == "sum" and len(counts.unique()) > 1:
            raise ValueError(
                f"aggregate='sum' with {int(counts.min())} to {int(counts.max())} descriptors of a class would favour "
                "the classes with more; take the mean"
            )
        texts = [phrase.text for own in phrases for phrase in own]
        learns_text = self.backbone.learns_text
        live = LiveTexts(self.backbone, texts).train(self.training) if learns_text and texts else None
        fixed = None if live else self.backbone.keep_text(partial(_unit_features, self.backbone, texts))
        self.phrases, self.live, self.fixed = phrases, live, fixed
        self.register_buffer("owners", torch.arange(len(counts), device=self.device).repeat_interleave(counts), False)
        weights = torch.tensor([phrase.weight for own in phrases for phrase in own], device=self.device)
        totals = weights.new_zeros(len(counts)).index_add(0, self.owners, weights)
        self.register_buffer("shares", weights / totals[self.owners], False)  # (N,), 1 in sum over a class
        if self.config.learn == "weights":
            self.preferences = nn.Parameter(self.shares.log())

    def _prompts(self) -> tuple[tuple[str, ...], ...]:
        return self.classes.texts if len(self.classes) else ()

    def _phrases_of(self, name: str, spoken: str, prompts: tuple[str, ...]) -> list[Phrase]:
        """The phrases of a class, which prompts call `spoken`; `prompts` are its sentences, or its templates."""
        config, by_name = self.config, [Phrase(prompt, prompt) for prompt in prompts]
        if self.classes.sentences is not None:
            return by_name
        if config.source == "waffle":
            words = tuple(self.backbone.tokenizer.whole_words().values())
            drawn = random_phrases(words, config.waffle_count, config.waffle_seed)
            return [Phrase(config.style.phrase(spoken, said), said) for said in drawn]
        own = self.descriptions.of(name)
        if own is None:
            if config.descriptors and config.missing == "refuse" and not self.is_waiting:
                raise DescriptionError(
                    f"the file of descriptors says nothing of the class {name!r}; add it, or take missing='name', "
                    "which reads such classes by their names. `adaptkit descriptors check` lists them"
                )
            self._warn(name, "says nothing of")
            return by_name
        if not own and config.empty == "code":
            return [Phrase(config.style.phrase(spoken, ""), "")]
        if not own:
            self._warn(name, "has no descriptor that is switched on for")
            return by_name
        if config.source == "cupl":
            return [Phrase(config.template.replace("{}", one.text), one.text, one.weight) for one in own]
        return [Phrase(config.style.phrase(spoken, one.text), one.text, one.weight) for one in own]

    def _warn(self, name: str, what: str) -> None:
        if not self.is_waiting:
            warnings.warn(
                f"the file of descriptors {what} the class {shortened(repr(name), 60)}, which is read by its own "
                "prompts; `adaptkit descriptors check` lists all such classes",
                stacklevel=2,
            )

    def phrase_features(self) -> Tensor:
        """Unit features u (N, D) of the phrases of all classes, class by class."""
        if self.live is not None:
            return F.normalize(self.live(), dim=-1)
        assert self.fixed is not None
        return self.fixed()

    def phrase_weights(self) -> Tensor:
        """Weights a (N,) of the phrases, 1 in sum over a class; all 1 for a sum or a largest."""
        if self.config.aggregate != "mean":
            return torch.ones_like(self.shares)
        if self.config.learn == "nothing":
            return self.shares
        powers = (self.preferences - self.preferences.detach().max()).exp()
        return powers / powers.new_zeros(len(self.classes)).index_add(0, self.owners, powers)[self.owners]

    def directions(self) -> Tensor:
        """Class weights w (C, D) whose products with a unit image feature are the scores of a mean or a sum."""
        features = self.phrase_features()
        weighted = self.phrase_weights().to(features)[:, None] * features
        directions = features.new_zeros(len(self.classes), features.shape[1]).index_add(0, self.owners, weighted)
        return F.normalize(directions, dim=-1) if self.config.is_unit else directions

    def scores(self, image_features: Tensor) -> Tensor:
        """Image features (B, D) -> scores (B, C), cosines that are averaged, summed, or the largest of a class."""
        unit = F.normalize(image_features, dim=-1)
        if self.config.aggregate != "max":
            return unit @ self.directions().to(unit).T
        return class_scores(self._cosines(image_features), [len(own) for own in self.phrases], "max")

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, C)."""
        logits = self.backbone.logit_scale.exp() * self.scores(image_features)
        return logits if self.backbone.logit_bias is None else logits + self.backbone.logit_bias

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor | None:
        if self.config.learn == "nothing" or not self.config.uniformity:
            return None
        counts = torch.bincount(self.owners, minlength=len(self.classes))
        distance = (self.phrase_weights() - 1 / counts[self.owners]).square().sum()
        return self.config.uniformity * distance / len(self.classes)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        loss, added = F.cross_entropy(self.logits(image_features), labels), self.regularizer(image_features, labels)
        return loss if added is None else loss + added

    def class_weights(self) -> Tensor:
        if not self.config.is_unit:
            return super().class_weights()
        return self.directions()  # (C, D)

    def reasons(self, x: Tensor, topk: int = 2, reference: Tensor | None = None) -> list[list[Reasons]]:
        """Why images are taken for their best classes: the descriptors with their cosines and contributions.

        Args:
            x: image features (B, D).
            topk: classes per image, the best first.
            reference: features (R, D) of images to compare with; cosines of common phrases are high for any image.
        """
        with torch.no_grad():
            cosines = self._cosines(x)
            usual = None if reference is None else self._cosines(reference).mean(dim=0)
            parts = Parts(self.owners, self.phrase_weights(), self.phrase_features())
            factors = parts.of_the_largest(cosines) if self.config.aggregate == "max" else parts.of_sums(cosines)
            if self.config.is_unit:
                factors = factors / parts.lengths()[self.owners]
            said = [phrase.said for own in self.phrases for phrase in own]
            return reasons(self.scores(x), cosines, factors, self.owners, self.classes.classnames, said, topk, usual)

    def _cosines(self, image_features: Tensor) -> Tensor:
        """Cosines (B, N) of image features with all phrases."""
        unit = F.normalize(image_features, dim=-1)
        return unit @ self.phrase_features().to(unit).T

    def set_descriptions(self, descriptions: Descriptions) -> None:
        """Take other descriptions of the same classes; cached image features are scored against them from now on.

        Raises:
            DescriptionError: if they say nothing of a class; nothing changes then.
        """
        before, replaced = self.descriptions, False
        self.descriptions = descriptions
        try:
            self.rebuild_from_names()
            replaced = True
        finally:
            if not replaced:
                self.descriptions = before

    def described_classes(self) -> ClassSet:
        """The classes with their phrases as sentences, for methods that take sentences, such as tip_adapter."""
        return dataclasses.replace(
            self.classes, sentences=tuple(tuple(phrase.text for phrase in own) for own in self.phrases)
        )

    def portable_options(self, config: object) -> object:
        assert isinstance(config, ClassifyByDescriptionConfig)
        # Of the embedded file, classes that it lacks are read by their own prompts.
        missing = config.missing if config.descriptors else "name"
        return dataclasses.replace(config, descriptors=KEPT, missing=missing)

    def learnt_state(self) -> dict[str, Tensor]:
        return super().learnt_state() | {"descriptions": as_tensor(self.descriptions.to_json())}

    def load_learnt_state(self, state: Mapping[str, Tensor]) -> None:
        self.is_waiting = False
        self.set_descriptions(parse_descriptions(as_text(state["descriptions"].cpu()), "this adapter"))
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name != "descriptions"})

    @property
    def bound_to_classes(self) -> str | None:
        if self.config.learn == "nothing":
            return None
        return (
            f"learnt weights belong to the descriptors of the {len(self.classes)} classes they were learnt on; take "
            "learn='nothing' to tell other classes apart"
        )


def _unit_features(backbone: FrozenCLIP, texts: list[str]) -> Tensor:
    """Unit features (N, D) of texts."""
    return F.normalize(backbone.encode_text(texts), dim=-1)
