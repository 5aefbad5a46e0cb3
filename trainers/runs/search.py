"""The architecture search before a training: a flat loop over the steps of a method's `search`.

Sub-networks learn in turn on the training images; their rewards come from other images, kept from training. The tensors
learnt here are thrown away; the architecture stays. The loop knows no wrapper by name; see
`adaptkit.contract.architecture`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, Support
from adaptkit.contract.architecture import Architecture, ArchitectureSearch, Choice
from datasets_fewshot import FewShotDataset, Item
from trainers.compute.precision import Precision, autocast
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import DataclassInstance, RunConfig, Wrap
from trainers.feeding.batches import Batch
from trainers.protocols.task import Task
from trainers.runs.data import Bench
from trainers.training.few_shot import Batches

# One in this many images of each class, rounded up, rates; a class with fewer images uses all of them for both.
HELD_OUT_SHARE = 4


def find_architecture(
    make: Callable[[Wrap], AdaptedCLIP], config: RunConfig, dataset: FewShotDataset, task: Task, bench: Bench
) -> tuple[Architecture, Wrap]:
    """Search as often as the method asks for, each time from another seed.

    Args:
        make: a function that makes a fresh method with given wrappers; it must have something to search.

    Returns:
        The architecture, and the wrappers with options that hold it.

    Raises:
        ValueError: if rewards should come from validation images and there are none.
    """
    results: list[Architecture] = []
    while True:
        what = (config.seed, config.protocol, config.dataset, config.label, config.shots, len(results))
        seed = derived_seed("search", *what)
        with seeded(seed, bench.backbone.device):
            method = make(config.wrap)
            search = method.search()
            assert search is not None
            results.append(run_search(method, search, replace(config, seed=seed), dataset, task, bench))
        if len(results) == search.searches:
            break
    architecture = search.merged(results)
    return architecture, settled_wrap(config.wrap, search, architecture)


def settled_wrap(wrap: Wrap, search: ArchitectureSearch, architecture: Architecture) -> Wrap:
    """The wrappers of a method made for a search, with options that hold the architecture."""
    settled = cast(DataclassInstance, search.settled(architecture))
    return tuple((name, settled if options is search.options else options) for name, options in wrap)


def run_search(
    method: AdaptedCLIP,
    search: ArchitectureSearch,
    config: RunConfig,
    dataset: FewShotDataset,
    task: Task,
    bench: Bench,
) -> Architecture:
    """Run one search from the seed of the config, which also orders its batches."""
    train_items, reward_items = split_for_rewards(task, search.reward_images)
    rewards = bench.feed(method).all_at_once(dataset, reward_items, config)
    step_count = search.step_count(config.shots, len(reward_items))
    if "prepare" in method.provides:
        method.prepare(bench.feed(method).support(method, dataset, train_items, config))
    search.begin()
    batches = _batches(method, search, config, dataset, train_items, bench, step_count)
    optimizer = adamw(method, search)
    reward_batches = _reward_batches(rewards, search.reward_batch)
    for step in range(step_count):
        if search.trains:
            for group in optimizer.param_groups:
                group["lr"] = search.lr * (1 + math.cos(math.pi * step / step_count)) / 2
            search.sample()
            train_step(method, optimizer, next(batches), bench.precision)
        if search.reward_is_due(step, step_count):
            choices = search.candidates()
            search.learn(choices, _losses(method, search, choices, next(reward_batches), bench.precision))
    return search.result(config.seed)


def split_for_rewards(task: Task, reward_images: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The images that teach sub-networks, and the images that rate them.

    "held_out": the last quarter of each class in the order of the draw, rounded up, does not teach; in a class of fewer
    than four images, all images do both.

    Raises:
        ValueError: if validation images are asked for and there are none.
    """
    if reward_images == "val":
        if not task.val:
            raise ValueError("reward_images is 'val', and these data have no validation images; use 'held_out'")
        return task.train, task.val
    by_class: dict[int, list[Item]] = {}
    for item in task.train:
        by_class.setdefault(item.label, []).append(item)
    learnt: list[Item] = []
    kept: list[Item] = []
    for items in by_class.values():
        if len(items) < HELD_OUT_SHARE:
            learnt, kept = learnt + items, kept + items
        else:
            first_kept = len(items) - math.ceil(len(items) / HELD_OUT_SHARE)
            learnt, kept = learnt + items[:first_kept], kept + items[first_kept:]
    return tuple(learnt), tuple(kept)


def _batches(
    method: AdaptedCLIP,
    search: ArchitectureSearch,
    config: RunConfig,
    dataset: FewShotDataset,
    items: Sequence[Item],
    bench: Bench,
    step_count: int,
) -> Iterator[Batch]:
    """Endless batches of the search's size."""
    optim = replace(config.optim, batch_size=search.batch_size, drop_last=True, steps=step_count)
    batches: Batches = bench.feed(method).training(dataset, items, replace(config, optim=optim))
    while True:
        yield from ((x, labels) for x, labels, *_ in batches)


def _reward_batches(images: Support, size: int) -> Iterator[Support]:
    """Endless batches of rating images, each once per round, in an order of torch's global generator."""
    while True:
        for rows in torch.randperm(len(images.labels)).split(size):
            yield Support(images.x[rows.to(images.x.device)], images.labels[rows.to(images.labels.device)])


def adamw(method: AdaptedCLIP, search: ArchitectureSearch) -> torch.optim.AdamW:
    """AdamW without weight decay for biases and layer norms."""
    learnt = list(method.learnt_parameters().values())
    matrices = [parameter for parameter in learnt if parameter.ndim > 1]
    vectors = [parameter for parameter in learnt if parameter.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": search.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=search.lr,
    )


def train_step(method: AdaptedCLIP, optimizer: torch.optim.Optimizer, batch: Batch, precision: Precision) -> None:
    """Train the active sub-network on one batch; nothing else changes, not even its part of the optimiser's state."""
    x, labels = batch
    device = method.backbone.device
    # Inactive parameters then have no gradient, and AdamW skips them.
    optimizer.zero_grad(set_to_none=True)
    method.train()
    with autocast(device, precision):
        method.backward(x.to(device, non_blocking=True), labels.to(device, non_blocking=True))
    optimizer.step()


@torch.no_grad()
def _losses(
    method: AdaptedCLIP, search: ArchitectureSearch, choices: Sequence[Choice], images: Support, precision: Precision
) -> list[float]:
    """Loss of each sub-network on the same images: the training loss, cross-entropy in nats plus additions."""
    method.eval()
    losses: list[Tensor] = []
    for choice in choices:
        search.use(choice)
        with autocast(method.backbone.device, precision):
            losses.append(method.loss(images.x, images.labels).float())
    values = torch.stack(losses).tolist()
    if not all(math.isfinite(value) for value in values):
        raise ArithmeticError(f"the losses of sub-networks are {values}; lower the learning rate of the search")
    return values
