"""Examine a set of image-text pairs: how much there is of what, what repeats, and what cannot be read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from datasets_fewshot.own.checked_images import check_images
from datasets_fewshot.own.found import Part
from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from datasets_fewshot.splits.validation import NAMES_SHOWN


@dataclass(frozen=True)
class Spread:
    """Least, middle, mean and greatest of some counts; all 0 where there are none."""

    least: int
    median: float
    mean: float
    most: int


@dataclass(frozen=True)
class PartFacts:
    """What one of the three lists holds."""

    images: int
    captions: int
    groups: int


@dataclass(frozen=True)
class PairFacts:
    """What a set of pairs holds."""

    name: str
    parts: dict[Part, PartFacts]
    images: int
    captions: int
    groups: int
    captions_per_image: Spread
    caption_words: Spread
    captions_of_several_images: int  # different texts that two or more images have
    images_of_equal_pixels: int  # images that are as another one, pixel by pixel
    of_them_in_other_parts: int  # images whose pixels an image of another part has
    unreadable: tuple[str, ...]  # paths of the images that cannot be decoded
    notes: tuple[str, ...]


def examine_pairs(pairs: PairSet) -> PairFacts:
    """Count what a set holds, and decode every image once; the result of decoding is stored in the cache."""
    lists: dict[Part, Sequence[Captioned]] = {"train": pairs.train, "val": pairs.val, "test": pairs.test}
    items = [item for own in lists.values() for item in own]
    part_of = {item.path: part for part, own in lists.items() for item in own}
    checked = check_images(pairs.image_root, [item.path for item in items])
    captions = Counter(caption for item in items for caption in item.captions)
    equal = [path for alike in checked.same for path in alike]
    straddling = [path for alike in checked.same if len({part_of[p] for p in alike}) > 1 for path in alike]
    return PairFacts(
        pairs.name,
        {part: _part_facts(own) for part, own in lists.items()},
        len(items),
        sum(len(item.captions) for item in items),
        len({item.group for item in items}),
        spread([len(item.captions) for item in items]),
        spread([len(caption.split()) for item in items for caption in item.captions]),
        sum(count > 1 for count in captions.values()),
        len(equal),
        len(straddling),
        tuple(sorted(checked.bad)),
        pairs.notes,
    )


def lines(facts: PairFacts) -> list[str]:
    """The facts as lines for people."""
    per_image, words = facts.captions_per_image, facts.caption_words
    said = [f"{facts.name}: {facts.images} images, {facts.captions} captions, {facts.groups} groups"]
    said += [
        f"  {part:<6} {own.images} images, {own.captions} captions, {own.groups} groups"
        for part, own in facts.parts.items()
    ]
    said += [
        f"  captions per image: {_said(per_image)}",
        f"  words per caption: {_said(words)}",
        f"  captions that several images have: {facts.captions_of_several_images}",
        f"  images of equal pixels: {facts.images_of_equal_pixels}, in different parts: {facts.of_them_in_other_parts}",
        f"  unreadable images: {len(facts.unreadable)}" + _shown(facts.unreadable),
    ]
    return said + [f"  note: {note}" for note in facts.notes]


def spread(counts: Sequence[int]) -> Spread:
    """Least, middle, mean and greatest of counts."""
    if not counts:
        return Spread(0, 0, 0, 0)
    return Spread(min(counts), median(counts), fmean(counts), max(counts))


def _part_facts(items: Sequence[Captioned]) -> PartFacts:
    return PartFacts(len(items), sum(len(item.captions) for item in items), len({item.group for item in items}))


def _said(counts: Spread) -> str:
    return f"{counts.least} to {counts.most}, mean {counts.mean:.2f}, median {counts.median:g}"


def _shown(paths: Sequence[str]) -> str:
    names = ", ".join(repr(path) for path in paths[:NAMES_SHOWN])
    return f" ({names}{', ...' if len(paths) > NAMES_SHOWN else ''})" if paths else ""
