"""A pool of labelled features, and the episodes that a meta-model learns from (ours).

Half of the episodes are bursty: 2 to 20 classes with 1 to 8 demonstrations each. In a quarter the demonstrations are
the nearest neighbours of the query, and in a quarter they are any images of the classes; the query's class may have
none there, and so may others, lest the answer be known by that. In a quarter of the bursty episodes the texts of the
classes are exchanged, so that only the demonstrations say what a class is. A query is never among its own
demonstrations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.features.sinc_meta.meta_model import NONE, Context
from adaptkit.options import option, options


@dataclass(frozen=True)
class Labelling:
    """One way to divide M images of a pool into classes: their places and labels (M,) int64, unit texts (C, D)."""

    places: Tensor
    labels: Tensor
    texts: Tensor


@dataclass(frozen=True)
class Pool:
    """N images in V views as unit features (N, V, D), and the classes that they can be divided into."""

    features: Tensor
    labellings: Sequence[Labelling]


@options
class EpisodeMix:
    bursty: float = option(0.5, "Share of episodes of C classes with K demonstrations each.", least=0, most=1)
    retrieved: float = option(
        0.25, "Share of episodes of a query's nearest neighbours; the rest are of any images.", least=0, most=1
    )
    exchanged: float = option(
        0.25, "Share of the bursty episodes in which the classes' texts are exchanged.", least=0, most=1
    )
    turned: float = option(
        0.5,
        "Share of the episodes in which the axes of the joint space change places and signs at random, so that a class "
        "cannot be known by heart.",
        least=0,
        most=1,
    )
    most_ways: int = option(20, "Most classes of an episode.", least=2)
    most_shots: int = option(8, "Most demonstrations of a class in a bursty episode.", least=1)
    most_drawn: int = option(64, "Most demonstrations of an episode of neighbours, or of any images.", least=1)
    queries: int = option(8, "Most queries of a bursty episode; the others have one.", least=1)


@dataclass(frozen=True)
class Episode:
    """Images by their places in the labelling, with the places of their classes among those of the episode."""

    demos: list[int]
    demo_classes: list[int]
    classes: list[int]  # places among the texts
    queries: list[int]
    query_classes: list[int]


@dataclass(frozen=True)
class EpisodeBatch:
    """E episodes: their context, queries (E, Q, D) with classes (E, Q), NONE for padding."""

    context: Context
    queries: Tensor
    targets: Tensor


def draw_batch(pool: Pool, mix: EpisodeMix, seeds: Sequence[int], slots: int) -> EpisodeBatch:
    """The episodes of these seeds, padded to the largest; on the device of the pool.

    Args:
        slots: how many slots the meta-model has; an episode takes different ones at random.

    Raises:
        ValueError: if no labelling of the pool has two classes of two images.
    """
    drawn = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        labelling = pool.labellings[_below(len(pool.labellings), generator)]
        episode = draw_episode(pool.features[labelling.places, 0], labelling.labels, mix, generator)
        places = torch.randperm(slots, generator=generator)[: len(episode.classes)].tolist()
        images = [
            pool.features[
                labelling.places[chosen], torch.randint(pool.features.shape[1], (len(chosen),), generator=generator)
            ]
            for chosen in (episode.demos, episode.queries)
        ]
        parts = (labelling.texts[episode.classes], *images)
        if float(torch.rand((), generator=generator)) < mix.turned:
            parts = _turned(parts, generator)
        drawn.append((episode, places, *parts))
    device = pool.features.device
    pad = torch.nn.utils.rnn.pad_sequence

    def padded(rows: list[list[int]]) -> Tensor:
        return pad([torch.tensor(row, dtype=torch.int64) for row in rows], True, NONE).to(device)

    episodes, slots_of_each, texts, demos, queries = (list(column) for column in zip(*drawn, strict=True))
    labels = padded([episode.demo_classes for episode in episodes])
    context = Context(pad(demos, True), labels, pad(texts, True), padded(slots_of_each))
    return EpisodeBatch(context, pad(queries, True), padded([episode.query_classes for episode in episodes]))


def draw_episode(features: Tensor, labels: Tensor, mix: EpisodeMix, generator: torch.Generator) -> Episode:
    """One episode of images with unit features (N, D) and labels (N,).

    Raises:
        ValueError: if there are not two classes, or for a bursty episode not two of two images.
    """
    kind = float(torch.rand((), generator=generator))
    if kind < mix.bursty:
        return _bursty(labels, mix, generator)
    query = _below(len(labels), generator)
    others = [label for label in labels.unique().tolist() if label != int(labels[query])]
    if not others:
        raise ValueError("all images of the pool have one class; an episode needs two")
    others = [others[place] for place in torch.randperm(len(others), generator=generator).tolist()]
    ways = 2 + _below(min(mix.most_ways, len(others) + 1) - 1, generator)
    count = 1 + _below(mix.most_drawn, generator)
    if kind < mix.bursty + mix.retrieved:
        near = (features @ features[query]).argsort(descending=True).tolist()
        drawn = [place for place in near if place != query][:count]
        # Half of the other classes are the neighbours'; the rest have no demonstrations, as the answer may have none.
        others = list(dict.fromkeys([int(labels[place]) for place in drawn][: ways // 2] + others))
        others = [label for label in others if label != int(labels[query])]
    else:
        drawn = [place for place in torch.randperm(len(labels), generator=generator).tolist() if place != query]
    classes = [int(labels[query]), *others[: ways - 1]]
    demos = [place for place in drawn if int(labels[place]) in classes][:count]
    return Episode(demos, [classes.index(int(labels[place])) for place in demos], classes, [query], [0])


def _bursty(labels: Tensor, mix: EpisodeMix, generator: torch.Generator) -> Episode:
    """C classes with up to K demonstrations each, and queries of some of them."""
    counts = torch.bincount(labels)
    enough = (counts >= 2).nonzero().flatten()
    if len(enough) < 2:
        raise ValueError(
            f"{len(enough)} classes of the pool have two images or more; an episode needs two such classes"
        )
    ways = 2 + _below(min(mix.most_ways, len(enough)) - 1, generator)
    shots = 1 + _below(mix.most_shots, generator)
    classes = enough[torch.randperm(len(enough), generator=generator)[:ways]].tolist()
    demos, demo_classes, queries, query_classes = [], [], [], []
    for place, label in enumerate(classes):
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)].tolist()
        if place < mix.queries:
            queries.append(members.pop())
            query_classes.append(place)
        demos += members[:shots]
        demo_classes += [place] * len(members[:shots])
    if float(torch.rand((), generator=generator)) < mix.exchanged:
        turn = 1 + _below(ways - 1, generator)  # every class gets the text of another one
        classes = classes[turn:] + classes[:turn]
    return Episode(demos, demo_classes, classes, queries, query_classes)


def _turned(parts: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Features (N, D) of an episode with axes in another order and with other signs, the same for all of them."""
    width = parts[0].shape[-1]
    order = torch.randperm(width, generator=generator)
    signs = 1 - 2 * torch.randint(2, (width,), generator=generator)
    return tuple(part[:, order] * signs.to(part) for part in parts)


def _below(count: int, generator: torch.Generator) -> int:
    """A whole number from 0 to below `count`."""
    return int(torch.randint(count, (), generator=generator))
