"""SINC's meta-model: few-shot classification from demonstrations in the context, without a gradient step at use.

Chen et al., "SINC: Self-Supervised In-Context Learning for Vision-Language Tasks", arXiv:2307.07742, on frozen CLIP
features instead of a fused vision-language model:
    logits = exp(logit_scale) cos(f, t_c) + 10 gamma cos(o_f, o_c)
with o the states of a small transformer that reads the demonstrations and the classes (meta_model.py). It was trained
once, on episodes over other classes (pool.py); gamma was learnt from 0, which is zero-shot CLIP.

Departure: the transformer is bidirectional and the demonstrations are a set; the released one is a causal GPT-2 over
    them in their order. `released.py` has it, and `episodes.py` its prompts.
Departure: a class is its CLIP text and a random slot, and the answer is compared with the classes of the task; the
    released code embeds the words of a label and compares with all labels of its vocabulary.
Departure: features are taken less the mean of the demonstrations, and texts less that of the classes.
Departure: queries do not take part in the context, so that it is read once for all of them.
Departure: more classes than slots are pruned to the best of zero-shot CLIP, image by image.
"""

import dataclasses
import warnings
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.artefacts.tensors import check_dtype
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import register_method
from adaptkit.features.sinc_meta.config import KEPT, SincMetaConfig
from adaptkit.features.sinc_meta.meta_file import LoadedMetaModel, parse_meta_model, read_meta_model
from adaptkit.features.sinc_meta.meta_model import NONE, Context
from adaptkit.features.sinc_meta.names import seen_among
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.regular_file import shortened

MOST_PAIRS = 2**22  # pairs of tokens that pruned contexts compare at a time: 64 MB a layer with four heads


@register_method("sinc_meta", SincMetaConfig, touches="after")
class SincMeta(AdaptedCLIP):
    """Frozen image features (B, D) against class weights (C, D) and a context of demonstrations."""

    consumes = "features"
    takes_sentences = True
    provides = frozenset({"prepare"})
    prepares_again = True
    demos: Tensor
    labels: Tensor

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: SincMetaConfig):
        super().__init__(backbone, classes)
        self.prompts = ClassPrompts(backbone, classes)
        self.config = config
        nothing = torch.zeros(0, backbone.embed_dim, dtype=torch.float32, device=backbone.device)
        self.register_buffer("demos", nothing)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64, device=backbone.device))
        self.meta_file: LoadedMetaModel | None = None
        if config.meta_model != KEPT:
            self._take(read_meta_model(config.meta_model, backbone))
            self._say_what_was_seen()

    def _take(self, loaded: LoadedMetaModel) -> None:
        if loaded.model.shape.dim != self.backbone.embed_dim:
            raise ValueError(
                f"the meta-model reads features of {loaded.model.shape.dim} numbers, and those of "
                f"{self.backbone.name} have {self.backbone.embed_dim}; train one for it with `adaptkit sinc train`"
            )
        self.meta_file, self.meta = loaded, loaded.model.to(self.device)

    def _say_what_was_seen(self) -> None:
        assert self.meta_file is not None
        seen = seen_among(self.classes.classnames, self.meta_file.provenance.seen)
        if not seen or self.config.seen_classes == "allow":
            return
        said = f"{len(seen)} of {len(self.classes)} classes, such as {shortened(repr(seen[0]), 60)}, were among those"
        if self.config.seen_classes == "refuse":
            raise ValueError(
                f"{said} that the meta-model learnt on, and seen_classes='refuse'; take other classes, train a "
                "meta-model without them (`adaptkit sinc train --hold-out`), or allow it"
            )
        warnings.warn(f"{said} that the meta-model learnt on, so they are no test of it", stacklevel=4)

    def prepare(self, support: Support) -> None:
        """Take demonstrations in place of those of before; their order does not matter.

        Raises:
            ValueError: if the features are not (N, D) or (N, V, D), or a label is none of the C classes.
        """
        self._hold(*self._checked(support))

    def add_demonstrations(self, support: Support) -> None:
        """Take demonstrations beside those of before; it costs nothing but to keep them.

        Raises:
            ValueError: as `prepare`.
        """
        features, labels = self._checked(support)
        self._hold(torch.cat([self.demos, features]), torch.cat([self.labels, labels]))

    def _checked(self, support: Support) -> tuple[Tensor, Tensor]:
        """Unit features (N, D), of the mean over views where there are several, and labels (N,)."""
        x, labels, width = support.x, support.labels, self.backbone.embed_dim
        if x.ndim not in (2, 3) or x.shape[-1] != width or labels.shape != (len(x),):
            raise ValueError(
                f"demonstrations {tuple(x.shape)} with labels {tuple(labels.shape)}; expected (N, {width}) or "
                f"(N, V, {width}) with (N,)"
            )
        self._check_labels(labels)
        x = x.detach().to(self.demos)
        return F.normalize(x.mean(dim=1) if x.ndim == 3 else x, dim=-1), labels.to(self.labels)

    def _check_labels(self, labels: Tensor) -> None:
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise ValueError(
                f"labels of demonstrations reach from {int(labels.min())} to {int(labels.max())}; there are "
                f"{len(self.classes)} classes"
            )

    def _hold(self, features: Tensor, labels: Tensor) -> None:
        """Keep demonstrations in an order that is their own, so that not even rounding tells how they came."""
        rows = features.tolist()
        order = sorted(range(len(rows)), key=lambda place: (int(labels[place]), rows[place]))
        self.demos, self.labels = features[order], labels[order]

    @property
    def weights(self) -> Tensor:
        """Zero-shot class weights (C, D), in fp32 or better."""
        return at_least_fp32(self.prompts())

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, C), zero-shot until there are demonstrations."""
        weights = self.weights
        with torch.autocast(image_features.device.type, enabled=False):
            features = image_features.to(weights)
            logits = self.backbone.logits(features, weights)
            if not len(self.labels):
                return logits
            return logits + self.in_context_scores(F.normalize(features, dim=-1), weights).to(logits)

    def in_context_scores(self, queries: Tensor, weights: Tensor) -> Tensor:
        """What the demonstrations say: unit queries (B, D), class weights (C, D) -> scores (B, C).

        Raises:
            ValueError: if there is no meta-model to read them.
        """
        if self.meta_file is None:
            raise ValueError(f"meta_model={KEPT!r} stands for one that comes with an adapter; name a file")
        queries, weights = queries.to(self.demos), weights.to(self.demos)
        ranks = self._ranks()
        if len(self.classes) > self.meta.shape.slots:
            return self._pruned_scores(queries, weights, ranks)
        context = Context(self.demos[None], self.labels[None], weights[None], ranks[None])
        return self.meta(context, queries[None])[0]

    def _ranks(self) -> Tensor:
        """Places (C,) of the class names in the alphabet: slots that do not depend on the order of the classes."""
        names = self.classes.classnames
        order = sorted(range(len(names)), key=lambda label: names[label])
        return torch.tensor(order, device=self.demos.device).argsort()

    def _pruned_scores(self, queries: Tensor, weights: Tensor, ranks: Tensor) -> Tensor:
        """Scores (B, C) where every query has a context of its best zero-shot classes and their demonstrations."""
        kept = min(self.config.pruned_to, self.meta.shape.slots)
        table = self._places_by_class()  # (C, K)
        rows = max(1, MOST_PAIRS // (kept * (table.shape[1] + 1)) ** 2)
        return torch.cat([self._pruned_part(part, weights, ranks, table, kept) for part in queries.split(rows)])

    def _pruned_part(self, queries: Tensor, weights: Tensor, ranks: Tensor, table: Tensor, kept: int) -> Tensor:
        chosen = (queries @ weights.T).topk(kept, dim=1).indices  # (B, kept)
        slots = ranks[chosen].argsort(dim=1).argsort(dim=1)
        places = table[chosen]  # (B, kept, K)
        labels = torch.arange(kept, device=chosen.device)[None, :, None].expand_as(places)
        labels = labels.masked_fill(places < 0, NONE).flatten(1)
        context = Context(self.demos[places.clamp(min=0).flatten(1)], labels, weights[chosen], slots)
        scores = self.meta(context, queries[:, None])[:, 0]  # (B, kept)
        return self.meta.lowest.expand(len(queries), len(weights)).scatter(1, chosen, scores)

    def _places_by_class(self) -> Tensor:
        """Places (C, K) of the demonstrations of every class, NONE where it has fewer than the most."""
        places = [(self.labels == label).nonzero().flatten() for label in range(len(self.classes))]
        return torch.nn.utils.rnn.pad_sequence(places, batch_first=True, padding_value=NONE)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def portable_options(self, config: object) -> object:
        assert isinstance(config, SincMetaConfig)
        return dataclasses.replace(config, meta_model=KEPT)

    def learnt_state(self) -> dict[str, Tensor]:
        file = torch.zeros(0, dtype=torch.uint8)
        if self.meta_file is not None:
            file = torch.frombuffer(bytearray(self.meta_file.content), dtype=torch.uint8)
        return {"demos": self.demos.clone(), "labels": self.labels.clone(), "meta_model": file.to(self.device)}

    def load_learnt_state(self, state: Mapping[str, Tensor]) -> None:
        """Put demonstrations and the file of the meta-model back.

        Raises:
            ValueError: if they do not fit this method or each other.
        """
        own = self.learnt_state()
        if state.keys() != own.keys():
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; expected {sorted(own)}")
        for name, tensor in own.items():
            check_dtype(name, state[name], tensor)
            if state[name].ndim != tensor.ndim:
                raise ValueError(f"{name} has {state[name].ndim} dimensions; expected {tensor.ndim}")
        demos, labels, file = state["demos"], state["labels"], state["meta_model"]
        if demos.shape != (len(labels), self.backbone.embed_dim):
            raise ValueError(
                f"demos have shape {tuple(demos.shape)}; expected {(len(labels), self.backbone.embed_dim)}"
            )
        self._check_labels(labels)
        if len(file):
            self._take(parse_meta_model(file.cpu().numpy().tobytes(), "the meta-model of this adapter"))
        elif len(labels):
            raise ValueError("there are demonstrations and no meta-model to read them; save the adapter again")
        self.demos, self.labels = demos.to(self.demos).clone(), labels.to(self.labels).clone()

    @property
    def bound_to_classes(self) -> str:
        return (
            f"the demonstrations are of the {len(self.classes)} classes they were given for and of no others; make a "
            "new sinc_meta and prepare it with images of the new classes, which takes no training"
        )
