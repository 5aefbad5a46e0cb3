"""Seeded batches of image-text pairs: every epoch shows each image once, with one of its captions.

A side that a training does not change is encoded once, before the first step; a method that learns behind the towers
is given their features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.backbone.tokenizer import Tokenizer
from adaptkit.contract.batches import PairBatch, PairText
from adaptkit.layers.image_texts import fit_text
from datasets_fewshot import FewShotDataset, Item, Split
from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from trainers.compute.seeds import derived_seed
from trainers.compute.team import ALONE, Team
from trainers.config.training import ViewConfig
from trainers.feeding.batches import load_batches
from trainers.feeding.encoder import ViewImages
from trainers.feeding.kept_pixels import KeptPixels
from trainers.feeding.views import batch_bounds, epoch_order
from trainers.pairs.written_texts import WrittenTexts


@dataclass(frozen=True)
class Captions:
    """The captions of N images, one after the other, cut to what the text tower reads."""

    texts: tuple[str, ...]  # M of them
    image: Tensor  # (M,) int64, the image that each describes
    starts: Tensor  # (N,) int64, the place of each image's first caption
    cut: int  # how many were too long
    written: tuple[tuple[str, ...], ...] = ()  # those of each image as they are in the data

    @cached_property
    def counts(self) -> Tensor:
        """Captions of each image (N,) int64."""
        return torch.bincount(self.image, minlength=len(self.starts))

    def drawn(self, images: Tensor, seed: int, epoch: int) -> Tensor:
        """The places (B,) of one caption of each of the images (B,), drawn anew in every epoch."""
        generator = torch.Generator().manual_seed(derived_seed("captions", seed, epoch))
        share = torch.rand(len(self.starts), generator=generator, dtype=torch.float64)
        return (self.starts + (share * self.counts).long())[images]


def captions_of(items: Sequence[Captioned], tokenizer: Tokenizer, room: int | None = None) -> Captions:
    """The captions of images; one that is too long is cut at a clause or a word.

    Args:
        room: tokens that a caption may have; None for as many as the text tower has places for.
    """
    written = [caption for item in items for caption in item.captions]
    texts = tuple(fit_text(caption, tokenizer, room) for caption in written)
    counts = torch.tensor([len(item.captions) for item in items])
    return Captions(
        texts,
        torch.arange(len(items)).repeat_interleave(counts),
        counts.cumsum(0) - counts,
        sum(text != caption for text, caption in zip(texts, written, strict=True)),
        tuple(tuple(item.captions) for item in items),
    )


def as_dataset(pairs: PairSet) -> FewShotDataset:
    """The images of pairs as a data set, for what reads and encodes images; labels are places in each list."""

    def items(listed: Sequence[Captioned]) -> tuple[Item, ...]:
        return tuple(Item(item.path, place, item.captions[0]) for place, item in enumerate(listed))

    split = Split(items(pairs.train), items(pairs.val), items(pairs.test))
    return FewShotDataset(pairs.name, pairs.image_root, split, pairs.notes, pairs.reading)


@dataclass(frozen=True)
class PairBatches:
    """The training pairs of every epoch.

    Args:
        dataset: the images, of whose training list the captions are.
        groups: (N,) int64, images of one group are no negatives of each other.
        image_features: (N, D) of a frozen image tower, or other rows (N, ...) of a side that does not learn; None
            where images are decoded for every batch.
        text_features: the same of texts (M, D); None where texts are encoded for every batch, or written for it.
        written: the texts that an objective writes for each pair; None for captions alone.
        team: the processes that share each batch; its rows have to divide evenly.
    """

    dataset: FewShotDataset
    captions: Captions
    groups: Tensor
    preprocess: PreprocessConfig
    views: ViewConfig
    batch_size: int
    seed: int
    workers: int = 0
    kept: KeptPixels | None = None
    image_features: Tensor | None = None
    text_features: Tensor | None = None
    written: WrittenTexts | None = None
    team: Team = ALONE

    def __len__(self) -> int:
        return len(self._bounds())

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[PairBatch]:
        """The batches of an epoch, without the first `skip`; this process's rows of each."""
        order, view = epoch_order(len(self.groups), self.views, self.seed, epoch)
        places = self.captions.drawn(order, self.seed, epoch)
        bounds = [self.team.share(start, end) for start, end in self._bounds()[skip:]]
        pixels = None if self.image_features is not None else self._pixels(order, view, bounds)
        for start, end in bounds:
            images = next(pixels) if pixels is not None else self.image_features[order[start:end]]  # type: ignore[index]
            texts = self._texts(order[start:end], places[start:end], epoch)
            yield PairBatch(images, texts, self.groups[order[start:end]])

    def _bounds(self) -> list[tuple[int, int]]:
        return batch_bounds(len(self.groups), self.batch_size, drop_last=True)

    def _texts(self, images: Tensor, places: Tensor, epoch: int) -> Tensor | Sequence[PairText]:
        if self.written is not None:
            drawn = places - self.captions.starts[images]
            return self.written.of(images.tolist(), drawn.tolist(), epoch)
        if self.text_features is not None:
            return self.text_features[places]
        return [self.captions.texts[place] for place in places.tolist()]

    def _pixels(self, order: Tensor, view: Tensor, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        listed, augmented = self.dataset.split.train, self.views.augment != "none"
        places = tuple((listed[index], (v,)) for index, v in zip(order.tolist(), view.tolist(), strict=True))
        kept = None if self.workers else self.kept
        images = ViewImages(self.dataset, places, self.preprocess, augmented, self.seed, self.views.min_area, kept)
        return load_batches(images, bounds, self.workers)
