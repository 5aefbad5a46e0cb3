"""The few-shot draws of the released codes, by name, and uneven ones; a seed gives different images in each draw."""

import random
from collections.abc import Callable

import numpy as np

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.splits.split_files import MAX_VAL_SHOTS, draw_few_shot, group_by_label, sample_classes

Draw = Callable[[Split, int, int], Split]  # (split, shots, seed) -> split with the drawn train and val


def draw_tip_adapter(split: Split, shots: int, seed: int) -> Split:
    """Tip-Adapter's draw: only train is drawn, small classes repeat images, and val stays whole.

    The released code always uses seed 1, which gives CoOp's training images of seed 1.
    """
    return Split(sample_classes(split.train, shots, random.Random(seed), repeat=True), split.val, split.test)


def draw_clip_lora(split: Split, shots: int, seed: int) -> Split:
    """CLIP-LoRA's draw: val is drawn before train, so the images differ from CoOp's with the same seed.

    Without a val list (ImageNet), one sample of K + min(K, 4) training images per class gives K for train and the rest
    for val.
    """
    rng = random.Random(seed)
    val_shots = min(shots, MAX_VAL_SHOTS)
    if split.val:
        val = sample_classes(split.val, val_shots, rng, repeat=True)
        return Split(sample_classes(split.train, shots, rng, repeat=True), val, split.test)
    drawn = Split(sample_classes(split.train, shots + val_shots, rng, repeat=True), (), ())
    groups = group_by_label(drawn.train).values()
    train = tuple(item for group in groups for item in group[:shots])
    return Split(train, tuple(item for group in groups for item in group[shots:]), split.test)


def draw_linear_probe(split: Split, shots: int, seed: int) -> Split:
    """The draw of CoOp's linear probe: numpy's generator, classes in label order, train before val.

    Raises:
        ValueError: if a class has fewer images than are to be drawn.
    """
    rng = np.random.RandomState(seed)
    train = _choose(split.train, shots, rng)
    val = _choose(split.val, min(shots, MAX_VAL_SHOTS), rng)
    return Split(train, val, split.test)


def _choose(items: tuple[Item, ...], shots: int, rng: np.random.RandomState) -> tuple[Item, ...]:
    groups = group_by_label(items)
    drawn: list[Item] = []
    for label in sorted(groups):
        group = groups[label]
        if len(group) < shots:
            raise ValueError(
                f"class {group[0].classname!r} has {len(group)} images, {shots} wanted; "
                "lower the shots or use the draw 'coop'"
            )
        drawn += [group[index] for index in rng.choice(len(group), shots, replace=False)]
    return tuple(drawn)


def draw_long_tailed(split: Split, shots: int, seed: int) -> Split:
    """Uneven shots: `shots` images of one class down to a single one of the last, falling exponentially.

    The class of rank r of C, in an order drawn by the seed, has shots^(1 - r / (C - 1)) images, rounded, as the long
    tails of Cui et al., "Class-Balanced Loss", arXiv:1901.05555, with an imbalance of `shots`. Of validation images a
    class has as many, and no more than the papers' 4.
    """
    rng = random.Random(seed)
    groups = group_by_label(split.train)
    ranked = sorted(groups)
    rng.shuffle(ranked)
    last = max(1, len(ranked) - 1)
    counts = {label: max(1, round(shots ** (1 - rank / last))) for rank, label in enumerate(ranked)}
    train = [item for label, group in groups.items() for item in rng.sample(group, min(len(group), counts[label]))]
    val = []
    for label, group in group_by_label(split.val).items():
        val += rng.sample(group, min(len(group), counts.get(label, 1), MAX_VAL_SHOTS))
    return Split(tuple(train), tuple(val), split.test)


LONG_TAILED = "long_tailed"

DRAWS: dict[str, Draw] = {
    "coop": draw_few_shot,
    LONG_TAILED: draw_long_tailed,
    "tip_adapter": draw_tip_adapter,
    "clip_lora": draw_clip_lora,
    "linear_probe": draw_linear_probe,
}


LISTED = "listed"  # the draw of a split file that holds drawn images; a file chooses it, nobody asks for it by name


def draw_listed(split: Split, shots: int, seed: int) -> Split:
    """The images that a file lists, in its order, whatever the seed.

    Raises:
        ValueError: if the file has other numbers of images per class than `shots`.
    """
    most = max((len(group) for group in group_by_label(split.train).values()), default=0)
    if most != shots:
        raise ValueError(f"the split file lists {most} images per class, and {shots} are wanted; add --shots {most}")
    return split


def list_draws() -> list[str]:
    """Names of the draws; the benchmark protocols use "coop"."""
    return list(DRAWS)


def draw(name: str, split: Split, shots: int, seed: int) -> Split:
    """Draw `shots` training images per class, as the named released code does, or at most so many: "long_tailed".

    Raises:
        ValueError: if there is no draw of that name, or `shots` is less than 1.
    """
    if name != LISTED and name not in DRAWS:
        raise ValueError(f"no draw is named {name!r}; use one of {', '.join(DRAWS)}")
    if shots < 1:
        raise ValueError(f"shots is {shots}; expected at least 1 image per class")
    return (draw_listed if name == LISTED else DRAWS[name])(split, shots, seed)
