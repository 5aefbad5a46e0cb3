"""A model between two phases, judged on the test pairs of all domains."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.objectives.modx.drift import drift_of
from trainers.evaluation.retrieval import pair_scores
from trainers.pairs.continual.result import Drift, Scores, flat
from trainers.pairs.judging import encoded_texts
from trainers.pairs.main import Tuning

MOST_PAIRS = 1000  # whose angles are compared, spread over all; the matrices of angles have the square of it


@dataclass(frozen=True)
class DomainFeatures:
    """Test features of a domain."""

    images: Tensor  # (N, D)
    texts: Tensor  # (M, D)


def features_of(method: AdaptedTowers, domains: Sequence[Tuning]) -> list[DomainFeatures]:
    """A method's features of the test pairs of every domain."""
    return [
        DomainFeatures(
            domain.image_features(method, "test"),
            encoded_texts(method, domain.captions["test"].texts, domain.looking.precision),
        )
        for domain in domains
    ]


def scores_of(features: Sequence[DomainFeatures], domains: Sequence[Tuning]) -> tuple[Scores, ...]:
    """The metrics of every domain; images are looked for among those of their own domain."""
    return tuple(
        flat(pair_scores(own.images, own.texts, domain.captions["test"].image))
        for own, domain in zip(features, domains, strict=True)
    )


def drift_between(
    before: Sequence[DomainFeatures], after: Sequence[DomainFeatures], domains: Sequence[Tuning]
) -> Drift:
    """How far the features of all test images moved, each with its first caption."""

    def paired(features: Sequence[DomainFeatures]) -> tuple[Tensor, Tensor]:
        images = torch.cat([own.images for own in features])
        texts = torch.cat(
            [own.texts[domain.captions["test"].starts] for own, domain in zip(features, domains, strict=True)]
        )
        spread = torch.arange(0, len(images), -(-len(images) // MOST_PAIRS))
        return images[spread], texts[spread]

    report = drift_of(*paired(before), *paired(after))
    angles = (
        float(report.image_rotation.mean()),
        float(report.text_rotation.mean()),
        report.image_reshaping,
        report.text_reshaping,
        report.deviation,
    )
    return Drift(*(180 / pi * angle for angle in angles))
