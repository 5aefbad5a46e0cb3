"""What CaSED says of an image: a name, the candidates it was chosen from, and the captions that gave them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from adaptkit.artefacts.atomic_file import Json


@dataclass(frozen=True)
class Candidate:
    """A word that may name the image, with its probabilities by the image, by the captions, and together."""

    name: str
    p_image: float
    p_text: float
    p: float
    captions: tuple[int, ...]  # places, in the index, of the captions that it stands in


@dataclass(frozen=True)
class Retrieved:
    """A caption that was found for the image and kept."""

    place: int  # in the index
    text: str
    similarity: float  # its cosine with the image


@dataclass(frozen=True)
class Naming:
    """The answer for one image."""

    candidates: tuple[Candidate, ...]  # the most probable first
    captions: tuple[Retrieved, ...]  # the nearest first, without near-duplicates
    centroid_similarity: float  # cosine of the image and the centroid of the captions

    @property
    def label(self) -> str:
        """The most probable name, with spaces between its words."""
        return self.candidates[0].name.replace("_", " ")

    @property
    def probability(self) -> float:
        """Of the most probable name."""
        return self.candidates[0].p

    def as_json(self, topk: int) -> Mapping[str, Json]:
        """The answer with its `topk` most probable candidates."""
        return {
            "label": self.label,
            "probability": self.probability,
            "candidates": [asdict(one) | {"captions": list(one.captions)} for one in self.candidates[:topk]],
            "captions": [asdict(one) for one in self.captions],
            "centroid_similarity": self.centroid_similarity,
        }


def pooled_vocabulary(candidates: Sequence[Sequence[str]], least_images: int = 2) -> list[str]:
    """Words that are candidates of so many images, the most frequent first; all words if none is."""
    counts = Counter(word for own in candidates for word in dict.fromkeys(own))
    frequent = [word for word, count in counts.most_common() if count >= least_images]
    return frequent or list(counts)
