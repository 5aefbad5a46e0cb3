"""Retrieval across two models: queries of one against a gallery of the other, what an upgrade gains, and backfill.

M(Q, G) is recall@k with queries of Q and a gallery of G. Image queries search texts, and text queries images.
    compatible    M(new, old) > M(old, old), in both directions (XBT, arXiv:2405.14715, and the field of backward
                  compatibility)
    update gain   (M(new, old) - M(old, old)) / (M(new, new) - M(old, old))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.evaluation.retrieval import PairScores, pair_scores

SHARES = (0.0, 0.25, 0.5, 1.0)  # of a gallery that is encoded again
OLD_OLD, NEW_NEW, OLD_NEW = "old/old", "new/new", "old/new"
WAYS = ("text_to_image", "image_to_text")


@dataclass(frozen=True)
class Rows:
    """Features of N images and of the M texts that describe them, by one model, in one space."""

    images: Tensor  # (N, D)
    texts: Tensor  # (M, D)

    @property
    def width(self) -> int:
        """Width D of the space."""
        return int(self.images.shape[1])

    def padded(self, width: int) -> "Rows":
        """The same with zeros behind, up to a width."""
        pad = (0, width - self.width)
        return Rows(F.pad(self.images, pad), F.pad(self.texts, pad))


@dataclass(frozen=True)
class Upgrade:
    """Scores of one way to search the old gallery with queries of the new model."""

    scores: PairScores
    gain: Mapping[str, Mapping[int, float | None]]  # direction -> k -> update gain; None where new/new is old/old
    compatible: bool  # recall@1 above old/old in both directions


@dataclass(frozen=True)
class UpgradeReport:
    """All that is said of an upgrade: the three plain pairs of models, every way across, and gradual backfill."""

    plain: Mapping[str, PairScores]  # old/old, new/new, old/new
    ways: Mapping[str, Upgrade]
    backfill: Mapping[float, PairScores]  # share of the gallery that the new model has encoded -> scores
    images: int
    texts: int


def cross_scores(queries: Rows, gallery: Rows, image_of_text: Tensor, chunk: int = 1024) -> PairScores:
    """Image queries against the gallery's texts, and text queries against its images.

    Args:
        image_of_text: (M,) int64, the image that each text describes.
        chunk: rows that are compared at a time.

    Raises:
        ValueError: if the features do not belong together; see `pair_scores`.
    """
    by_image = pair_scores(queries.images, gallery.texts, image_of_text, chunk).image_to_text
    by_text = pair_scores(gallery.images, queries.texts, image_of_text, chunk).text_to_image
    rsum = sum((*by_image.recall.values(), *by_text.recall.values()))
    return PairScores(by_text, by_image, rsum)


def partly_encoded(old: Rows, mapped: Rows, share: float, seed: int) -> Rows:
    """The old gallery with a share of its images and of its texts, drawn by seed, replaced by the new model's rows."""
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}; expected 0 (the old gallery) to 1 (all of it encoded again)")
    generator = torch.Generator().manual_seed(seed)

    def mixed(before: Tensor, after: Tensor) -> Tensor:
        chosen = torch.randperm(len(before), generator=generator)[: round(share * len(before))]
        rows = F.normalize(before, dim=-1)
        rows[chosen] = F.normalize(after, dim=-1)[chosen]
        return rows

    return Rows(mixed(old.images, mapped.images), mixed(old.texts, mapped.texts))


def upgrade_report(
    old: Rows,
    new: Rows,
    ways: Mapping[str, Rows],
    image_of_text: Tensor,
    backfill: str,
    seed: int = 1,
    shares: Sequence[float] = SHARES,
) -> UpgradeReport:
    """Compare every way across with the old model by itself and the new model by itself.

    Args:
        ways: name -> queries of the new model in the old space.
        image_of_text: (M,) int64, the image that each text describes.
        backfill: the way by which a part of the gallery is encoded again.
        seed: of which part that is.

    Example:
        ```python
        import torch
        from trainers.evaluation.upgrade import Rows, upgrade_report

        images = torch.randn(20, 8)
        old = Rows(images, images + torch.randn(20, 8))
        new = Rows(images, images + 0.5 * torch.randn(20, 8))
        report = upgrade_report(old, new, {"as it is": new}, torch.arange(20), "as it is")
        print(report.ways["as it is"].compatible, report.plain["new/new"].rsum)
        ```
    """
    width = max(old.width, new.width)
    plain = {
        OLD_OLD: cross_scores(old, old, image_of_text),
        NEW_NEW: cross_scores(new, new, image_of_text),
        OLD_NEW: cross_scores(old.padded(width), new.padded(width), image_of_text),
    }
    across = {}
    for name, mapped in ways.items():
        scores = cross_scores(mapped, old, image_of_text)
        gain = {way: update_gain(scores, plain[OLD_OLD], plain[NEW_NEW], way) for way in WAYS}
        across[name] = Upgrade(scores, gain, is_compatible(scores, plain[OLD_OLD]))
    mixed = {
        share: cross_scores(ways[backfill], partly_encoded(old, ways[backfill], share, seed), image_of_text)
        for share in shares
    }
    return UpgradeReport(plain, across, mixed, len(old.images), len(old.texts))


def is_compatible(scores: PairScores, old: PairScores) -> bool:
    """Whether recall@1 is above that of the old model by itself in both directions."""
    return all(getattr(scores, way).recall[1] > getattr(old, way).recall[1] for way in WAYS)


def update_gain(scores: PairScores, old: PairScores, new: PairScores, way: str) -> dict[int, float | None]:
    """k -> the share of what the new model gains by itself that the upgrade has; None where it gains nothing."""
    recalls = (getattr(one, way).recall for one in (scores, old, new))
    across, before, after = recalls
    return {k: (across[k] - before[k]) / (after[k] - before[k]) if after[k] != before[k] else None for k in across}
