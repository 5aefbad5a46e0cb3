"""One training on images with several labels, and the answers of such trainings to images that they were not shown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, Support, create_method
from adaptkit.layers.label_odds import fit_log_odds
from adaptkit.wrappers import MultiLabel
from datasets_fewshot import Item
from datasets_fewshot.own.multi_label import MultiLabelDataset
from datasets_fewshot.splits.multi_label import stratified
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import RunConfig
from trainers.evaluation.logits import predict
from trainers.evaluation.multi_label import choose_thresholds
from trainers.evaluation.scoring import Bools, Floats
from trainers.feeding.batches import Batch
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.feeding.feeds import TrainingBatches
from trainers.fit.multi_label.kept import Kept, kept_training
from trainers.protocols.task import EvalSet
from trainers.runs.data import Bench
from trainers.training.checkpoints import discard_checkpoints
from trainers.training.few_shot import DivergedError, TrainLog, train

FOLDS = 3  # of the training images, for what is chosen on images that were not learnt from
LEAST_POSITIVES = 5  # images with a label that its own threshold needs

OnEpoch = Callable[[int], None] | None


@dataclass(frozen=True)
class LabelTask:
    """One training on images with several labels."""

    dataset: MultiLabelDataset
    train: tuple[Item, ...]
    val: tuple[Item, ...]  # for methods that choose their own settings; may be empty
    run: RunConfig  # the multi_label wrapper is its outermost


class TargetBatches:
    """Batches of images and their numbers -> batches of images and their labels (B, C) of 0 and 1."""

    def __init__(self, batches: TrainingBatches, targets: Tensor):
        self.batches, self.targets = batches, targets

    def __len__(self) -> int:
        return len(self.batches)

    def seek(self, epoch: int, batch: int) -> None:
        """Make the next pass begin at the given batch of the given epoch."""
        self.batches.seek(epoch, batch)

    def __iter__(self) -> Iterator[Batch]:
        for x, numbers in self.batches:
            yield x, self.targets[numbers.to(self.targets.device)]


def learn(task: LabelTask, bench: Bench, on_epoch: OnEpoch = None) -> MultiLabel:
    """A method that has learnt the training images, with thresholds of 0.

    What is learnt is kept below `bench.out`, and checkpoints until then, so that the same call goes on from there.

    Raises:
        ValueError: if the method cannot learn several labels.
        DivergedError: if a loss is not finite.
    """
    return _learn(task, task.train, bench, on_epoch)


def _learn(task: LabelTask, items: Sequence[Item], bench: Bench, on_epoch: OnEpoch = None) -> MultiLabel:
    run, images = task.run, task.dataset.images
    kept = kept_training(run, task.dataset, items, task.val, bench)
    with seeded(derived_seed("several labels", run.seed, run.method, run.shots), bench.backbone.device):
        method = make(task, bench)
        if (learnt := kept.learnt()) is not None:
            method.load_learnt_state(learnt)
            return method.eval()
        feed = bench.feed(method)
        targets = torch.from_numpy(task.dataset.targets(_by_number(task.dataset))).float().to(method.device)
        shown = feed.support(method, images, items, run)
        support = Support(shown.x, targets[shown.labels])
        batches = TargetBatches(feed.training(images, items, run), targets)
        log = _train(method, batches, support, run, kept, bench, on_epoch)
        if "tune" in method.provides and task.val:
            shown = feed.all_at_once(images, task.val, run)
            method.tune(Support(shown.x, targets[shown.labels]))
    if log.steps:  # what is fitted at once is as soon fitted again
        kept.finish(method.learnt_state())
    return method


def _train(
    method: MultiLabel,
    batches: TargetBatches,
    support: Support,
    run: RunConfig,
    kept: Kept,
    bench: Bench,
    on_epoch: OnEpoch,
) -> TrainLog:
    checkpoints = kept.checkpoints(bench.checkpoint)
    try:
        return train(method, batches, run.optim, support, bench.precision, on_epoch, checkpoints)
    except DivergedError:
        discard_checkpoints(kept.folder)  # a restart from them could only diverge again
        raise


def make(task: LabelTask, bench: Bench) -> MultiLabel:
    """The task's method before any training.

    Raises:
        ValueError: if it cannot learn several labels.
    """
    run, classes = task.run, ClassSet(task.dataset.classnames, task.run.templates)
    method = create_method(run.method, bench.backbone, classes, run.options, wrap=run.wrap).to(bench.backbone.device)
    assert isinstance(method, MultiLabel)
    if method.search() is not None:
        raise ValueError(
            f"{run.label} searches which blocks to skip by labels of one class per image; leave that wrapper out"
        )
    return method


def _by_number(dataset: MultiLabelDataset) -> list[Item]:
    """All images in the order of their numbers."""
    return sorted((item for part in dataset.images.split for item in part), key=lambda item: item.label)


def log_odds_of(
    method: AdaptedCLIP, dataset: MultiLabelDataset, items: Sequence[Item], bench: Bench
) -> tuple[Floats, Bools]:
    """Log odds (N, C) of images, and which labels they have (N, C)."""
    test = EvalSet("images", dataset.images, tuple(items), dataset.classnames)
    found, numbers = predict(method, bench.feed(method).test(test), bench.precision)
    assert numbers.tolist() == [item.label for item in items]
    return found, dataset.targets(items)


def held_out(task: LabelTask, bench: Bench, on_fold: Callable[[int, int], None]) -> tuple[Floats, Bools]:
    """Log odds (N, C) of the training images, each by a method that has learnt the other folds alone, and the labels.

    Args:
        on_fold: called with the number of a fold, from 1, and how many there are.

    Returns:
        Rows for the training images; none where a single image cannot be divided.
    """
    dataset, count = task.dataset, min(FOLDS, len(task.train))
    n_labels = len(dataset.classnames)
    if count < 2:
        return np.zeros((0, n_labels)), np.zeros((0, n_labels), dtype=np.bool_)
    labels = [dataset.labels[item.label] for item in task.train]
    folds = np.array(stratified(labels, [1 / count] * count, derived_seed("folds", task.run.seed)))
    pooled = replace(bench, encoder=PoolEncoder(bench.encoder, task.train))  # encoded once for all folds
    log_odds = np.zeros((len(task.train), n_labels))
    for fold in range(count):
        on_fold(fold + 1, count)
        rest, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        method = _learn(task, [task.train[place] for place in rest], pooled)
        log_odds[own], _ = log_odds_of(method, dataset, [task.train[place] for place in own], pooled)
    return log_odds, dataset.targets(task.train)


def settle(method: MultiLabel, log_odds: Floats, targets: Bools) -> tuple[int, ...]:
    """Fit a method's log odds, and choose its thresholds, to answers of its like to images that they have not learnt.

    Returns:
        The labels with so few images that they take the threshold that is best for all labels together.
    """
    if not len(log_odds):
        return tuple(range(targets.shape[1]))
    scale, bias = fit_log_odds(torch.from_numpy(log_odds), torch.from_numpy(targets).float())
    method.rescale(scale, bias)
    thresholds, few = choose_thresholds(log_odds * scale + bias.numpy(), targets, LEAST_POSITIVES)
    method.set_thresholds(torch.from_numpy(thresholds).float())
    return few
