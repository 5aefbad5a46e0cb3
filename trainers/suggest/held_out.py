"""Answers of models of the adapter's method to images that they have not learnt from, by folds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from adaptkit import AdaptedCLIP
from datasets_fewshot import FewShotDataset, Item
from trainers.config.settings import RunConfig
from trainers.config.training import ViewConfig
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Floats, Ints
from trainers.feeding.encoder import ImageEncoder
from trainers.feeding.token_table import TokenTable
from trainers.protocols.task import EvalSet, Task
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.replicas import learn_together
from trainers.suggest.folds import NEVER
from trainers.training.few_shot import DivergedError


class EncodedTogether(ImageEncoder):
    """An encoder of parts of one list of images: all of them are encoded at once, whatever part is asked for."""

    def __init__(self, encoder: ImageEncoder, items: Sequence[Item]):
        super().__init__(encoder.backbone, encoder.store, encoder.precision, encoder.workers, encoder.kept)
        self.items = tuple(items)
        self.places = {item.path: place for place, item in enumerate(items)}

    def _among(self, items: Sequence[Item]) -> list[int] | None:
        """Places of images in the list; None if one is not in it."""
        places = [self.places.get(item.path, -1) for item in items]
        return None if -1 in places else places

    def plain_features(self, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
        """As of any encoder: (N, D)."""
        places = self._among(items)
        if places is None:
            return super().plain_features(dataset, items)
        return super().plain_features(dataset, self.items)[places]

    def view_features(
        self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int, epochs: int
    ) -> Tensor:
        """As of any encoder: (N, V, D); a view depends on its image, its number and the seed, and on no other image."""
        places = self._among(items)
        if places is None:
            return super().view_features(dataset, items, views, seed, epochs)
        return super().view_features(dataset, self.items, views, seed, epochs)[places]

    def view_tokens(
        self,
        dataset: FewShotDataset,
        items: Sequence[Item],
        views: ViewConfig,
        seed: int,
        epochs: int,
        *,
        first_only: bool = False,
    ) -> TokenTable | None:
        """As of any encoder: (N, V, 1 + P, D_v), or None if they take too much space."""
        places = self._among(items)
        if places is None:
            return super().view_tokens(dataset, items, views, seed, epochs, first_only=first_only)
        table = super().view_tokens(dataset, self.items, views, seed, epochs, first_only=first_only)
        return None if table is None else TokenTable(table.packed[places], table.width)


@dataclass(frozen=True)
class HeldOut:
    """Logits (N, C) of images, each by a model that has not learnt from it or from a copy of it."""

    places: Ints  # (N,) of the images among those that were given
    labels: Ints  # (N,)
    logits: Floats
    folds: int  # 0 where the method learns from no image


def held_out_answers(
    config: RunConfig,
    dataset: FewShotDataset,
    items: Sequence[Item],
    folds: Ints,
    val: Sequence[Item],
    bench: Bench,
    tell: Callable[[str], None],
) -> HeldOut:
    """Train the method of a run once per fold, on all other folds, and let it answer on the fold.

    Args:
        folds: (N,) of the images; those of NEVER are always learnt from and get no answer.
        val: images on which methods that tune themselves do so, as in a training; none of them is in a fold.

    Raises:
        DivergedError: if a training diverges.
    """
    bench = replace(bench, encoder=EncodedTogether(bench.encoder, items))
    count = int(folds.max()) + 1
    names = dataset.classnames
    runs = []
    for fold in range(count):
        train = tuple(item for item, own in zip(items, folds.tolist(), strict=True) if own != fold)
        runs.append(Run(config, dataset, Task(train, tuple(val), names, ()), True, {}, Path(), "features"))
    tell(f"{config.label}: {count} trainings, each without a fold of the {len(items)} images ...")
    logits = np.full((len(items), len(names)), np.nan)
    for fold, learnt in enumerate(learn_together(runs, bench)):
        if isinstance(learnt.log, DivergedError):
            raise learnt.log
        method = learnt.method
        if val and "tune" in method.provides:
            method.tune(bench.feed(method).all_at_once(dataset, val, config))
        places = np.flatnonzero(folds == fold)
        logits[places] = answers(method, dataset, [items[place] for place in places.tolist()], bench)
    places = np.flatnonzero(folds != NEVER)
    return HeldOut(places, np.array([items[place].label for place in places.tolist()]), logits[places], count)


def answers(method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], bench: Bench) -> Floats:
    """Logits (N, C) of a method as it is, C its own classes."""
    images = EvalSet("images", dataset, tuple(items), method.classes.classnames)
    return predict(method, bench.feed(method).test(images), bench.precision)[0]
