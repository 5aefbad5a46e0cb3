"""CaSED: names for images without a list of names, from captions that are near the image.

Conti et al., "Vocabulary-free Image Classification", NeurIPS 2023, arXiv:2306.00917. Nothing is learned:

    1. find the K captions with the largest <z, n(g(caption))> in an index, and drop near-duplicates (`index`)
    2. their words that are frequent and nouns, adjectives or participles are the candidates (`candidates`)
    3. p = alpha softmax(s <z, w> / tau) + (1 - alpha) softmax(s <t, w> / tau), with t the centroid of the captions
       (`scoring`)

Departure: the paper's index is of a subset of PMD. Without one, the nouns of WordNet that things have, a sentence each,
stand in its place; they are inside the package and the backbone encodes them when the head is first used.
Departure: captions that are too long for the context lose words at their end.
Departure: `pooled_names`, `bigrams` and `tau_txt` are ours.
"""

import copy
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.artefacts.config import ArtefactError
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.registry import register_head
from adaptkit.options import option, options
from adaptkit.regular_file import user_path
from adaptkit.texts.cased.candidates import CandidateOptions, candidates_or_object, stages
from adaptkit.texts.cased.index import CaptionIndex, encode
from adaptkit.texts.cased.index_files import open_index
from adaptkit.texts.cased.lexicon import WordFilter
from adaptkit.texts.cased.naming import Candidate, Naming, Retrieved, pooled_vocabulary
from adaptkit.texts.cased.scoring import caption_centroid, deduplicate, score
from adaptkit.texts.cased.shipped import shipped_digest, shipped_index
from adaptkit.vectors.faiss_search import FaissSearch

INDEXES = "ADAPTKIT_INDEXES"  # the environment variable with the folder of indexes that saved heads name
KEPT_TEXTS = 2**16


@options
class CasedConfig(CandidateOptions):
    """Options of CaSED with the paper's values."""

    index: str = option("", "Folder of an index of captions; empty for the captions inside the package.")
    index_sha256: str = option(
        "", "Checksum that the index has to have; empty for any. A saved head holds its index's."
    )
    search: Literal["exact", "faiss"] = option("exact", "How the index is searched; faiss is approximate.")
    probes: int = option(16, "Lists of neighbours that faiss looks at.", least=1)
    k: int = option(10, "Captions found for an image, before near-duplicates are dropped.", least=1)
    duplicate_threshold: float = option(0.94, "Cosine above which two captions are duplicates.", least=-1, most=1)
    alpha: float = option(0.7, "Weight of the image's probabilities against those of its captions.", least=0, most=1)
    tau: float = option(1.0, "Temperature of the probabilities.", above=0)
    tau_txt: float | None = option(None, "Temperature of the captions' probabilities; null for tau.", above=0)
    topk: int = option(5, "Candidates that an answer lists.", least=1)


@register_head("cased", CasedConfig, touches="class_side")
class Cased(Head):
    """Free names for images; see the module's docstring.

    `keeps` may be set to another word filter, such as a part-of-speech tagger; a saved head does not hold it.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        head = adaptkit.create_head("cased", backbone, alpha=0.5)
        print([answer["label"] for answer in head.answers(torch.rand(2, 3, 48, 48))])
        ```
    """

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, config: CasedConfig):
        super().__init__(backbone)
        backbone.require_frozen_text("cased", "searches captions that were encoded before")
        self.config = config
        self.keeps: WordFilter | None = None
        self._texts: dict[str, Tensor] = {}
        self._texts_of = ""  # the hash of the weights that encoded them
        self._opened = open_index(find_index(config.index)) if config.index else None
        self._faiss: FaissSearch | None = None
        if self._opened is not None:
            self._opened.check_backbone(backbone)
        if config.index_sha256 not in ("", self._digest):
            which = f"the index {config.index!r}" if config.index else "the captions inside this adaptkit"
            raise ArtefactError(
                f"cased was saved with an index of captions with checksum {config.index_sha256[:12]}, and {which} has "
                f"{self._digest[:12]}; put the index that it was saved with in its place, or make a new head"
            )

    @property
    def _digest(self) -> str:
        return shipped_digest() if self._opened is None else self._opened.digest

    @property
    def index(self) -> CaptionIndex:
        """The captions that are searched; those inside the package are encoded when they are first asked for.

        Raises:
            ValueError: if the backbone's weights are no longer those that the index was made with.
        """
        if self._opened is None:
            return shipped_index(self.backbone)
        self._opened.check_backbone(self.backbone)
        return self._opened

    def with_options(self, **changes: object) -> "Cased":
        """A head like this one, with the same index, word filter and kept features, and some options changed.

        Raises:
            ValueError: if an option cannot have its value.
        """
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, **changes)  # type: ignore[arg-type]
        other.spec = None if self.spec is None else dataclasses.replace(self.spec, config=other.config)
        return other

    def portable_options(self, config: object) -> object:
        """The options with the index by its name and checksum."""
        assert isinstance(config, CasedConfig)
        name = Path(config.index).name if config.index else ""
        return dataclasses.replace(config, index=name, index_sha256=self._digest)

    def outputs(self, x: Tensor) -> Tensor:
        """Image features (B, D) -> of length 1, as the index is searched with; `described` finds their names."""
        return F.normalize(x.float(), dim=-1)

    def described(self, outputs: Tensor) -> list[Answer]:
        """Label, probability, candidates, captions: `Naming.as_json`."""
        return [naming.as_json(self.config.topk) for naming in self.names(outputs)]

    @torch.no_grad()
    def names(self, image_features: Tensor) -> list[Naming]:
        """Names for images by their features (B, D), of any length; also those of an adapted image tower."""
        z = self.outputs(image_features)
        if not len(z):
            return []
        captions = self.retrieve(z)
        words = [self._candidates(own) for own in captions]
        word_features = self.encode([word for own in words for word in own])
        caption_features = self._caption_features(captions)
        scores = score(
            z,
            torch.cat(caption_features),
            [len(own) for own in captions],
            word_features,
            [len(own) for own in words],
            self.backbone.logit_scale.float(),
            alpha=self.config.alpha,
            tau=self.config.tau,
            tau_txt=self.config.tau_txt,
        )
        start, found = 0, []
        for image, (own_words, own_captions) in enumerate(zip(words, captions, strict=True)):
            own = slice(start, start + len(own_words))
            start = own.stop
            rows = zip(
                own_words,
                scores.p_image[image, own].tolist(),
                scores.p_text[image, own].tolist(),
                scores.p[image, own].tolist(),
                _sources(own_words, own_captions, self.config),
                strict=True,
            )
            candidates = sorted((Candidate(*row) for row in rows), key=lambda one: -one.p)
            similarity = float(z[image] @ caption_centroid(caption_features[image]))
            found.append(Naming(tuple(candidates), own_captions, similarity))
        return found

    def retrieve(self, z: Tensor) -> list[tuple[Retrieved, ...]]:
        """The nearest captions of unit image features (B, D), the best first, without near-duplicates."""
        index = self.index
        if self.config.search == "faiss":
            if self._faiss is None or self._faiss.rows is not index.vectors:
                self._faiss = FaissSearch(index.vectors, self.config.probes)
            found = self._faiss.search(z, self.config.k)
        else:
            found = index.search(z, self.config.k)
        answers = []
        for scores, places in zip(found.scores.tolist(), found.places.tolist(), strict=True):
            kept = deduplicate(index.rows(places), self.config.duplicate_threshold).tolist()
            answers.append(tuple(Retrieved(places[each], index.captions[places[each]], scores[each]) for each in kept))
        return answers

    def _candidates(self, captions: Sequence[Retrieved]) -> list[str]:
        return candidates_or_object([one.text for one in captions], self.config, self.keeps)

    def _caption_features(self, captions: Sequence[Sequence[Retrieved]]) -> list[Tensor]:
        """Unit features (K, D) of each image's captions, encoded together."""
        features = self.encode([one.text for own in captions for one in own])
        return list(features.split([len(own) for own in captions]))

    @torch.no_grad()
    def pooled_names(self, image_features: Tensor, least_images: int = 2) -> tuple[list[str], Tensor]:
        """Names from one vocabulary for all images (B, D): words that are candidates of several of them.

        Args:
            least_images: images that a word has to be a candidate of.

        Returns:
            The vocabulary, and p (B, W) over it.
        """
        z = self.outputs(image_features)
        captions = self.retrieve(z)
        words = pooled_vocabulary([self._candidates(own) for own in captions], least_images)
        word_features = self.encode(words)
        centroids = torch.stack([caption_centroid(own) for own in self._caption_features(captions)])
        scale = self.backbone.logit_scale.float().exp()
        tau_txt = self.config.tau if self.config.tau_txt is None else self.config.tau_txt
        p_image = (scale / self.config.tau * z @ word_features.T).softmax(dim=-1)
        p_text = (scale / tau_txt * centroids @ word_features.T).softmax(dim=-1)
        return [word.replace("_", " ") for word in words], self.config.alpha * p_image + (
            1 - self.config.alpha
        ) * p_text

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit text features (N, D) of captions and words, with spaces for "_"; they are kept for the next image."""
        if self._texts_of != self.backbone.weights_hash or len(self._texts) > KEPT_TEXTS:
            self._texts, self._texts_of = {}, self.backbone.weights_hash
        readable = [text.replace("_", " ") for text in texts]
        new = [text for text in dict.fromkeys(readable) if text not in self._texts]
        if new:
            self._texts |= zip(new, encode(self.backbone, new), strict=True)
        return torch.stack([self._texts[text] for text in readable])


def find_index(name: str) -> Path:
    """The folder of an index by its path, or by its name in the folder that ADAPTKIT_INDEXES names.

    Raises:
        FileNotFoundError: if it is in neither place.
    """
    given = user_path(name, "index of captions")
    kept_in = os.environ.get(INDEXES, "")
    places = [given, *([user_path(kept_in, "folder of indexes") / given] if kept_in and given.name == name else [])]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"there is no index of captions {name!r} (looked at {', '.join(map(str, places))}); give its path, or set "
        f"{INDEXES} to the folder that holds it"
    )


def _sources(words: Sequence[str], captions: Sequence[Retrieved], config: CandidateOptions) -> list[tuple[int, ...]]:
    """Of each word, the captions that it stands in."""
    own = [(one.place, stages([one.text], config, _all)["drop_words"].split()) for one in captions]
    return [tuple(place for place, said in own if set(word.split("_")) <= set(said)) for word in words]


def _all(words: Sequence[str]) -> list[bool]:
    return [True] * len(words)
