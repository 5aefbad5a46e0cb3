"""Warm start: the learnt tensors of a saved adapter, from which a training of the same method starts.

An adapter and a run belong together if method, wrappers and their options are the same, and the weights of the
backbone are. Where what is learnt belongs to classes, these are the same in the same order, too. An objective is never
saved with an adapter, so any may train it further.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import safetensors.torch
from torch import Tensor

import adaptkit
from adaptkit import AdaptedCLIP, FrozenCLIP
from adaptkit.contract.adapted_towers import MethodSpec
from trainers.config.settings import RunConfig

ZERO_SHOT = "zero_shot"  # the baseline, which learns nothing unless a wrapper does
MAY_DIFFER = ("in_epochs", "file")  # options that say how long a training is, or where a new one begins


@dataclass(frozen=True)
class Start:
    """What training starts from, read and checked against the backbone."""

    name: str  # of the adapter's folder or file
    spec: MethodSpec
    classnames: tuple[str, ...]
    bound_to_classes: bool
    tensors: Mapping[str, Tensor]  # its learnt state, on the CPU
    sha256: str  # of these tensors

    def __str__(self) -> str:
        return f"the adapter {self.name!r} (learnt tensors {self.sha256[:12]})"


def load_start(place: str | Path, backbone: FrozenCLIP) -> Start:
    """Read an adapter, as `adaptkit.load` does.

    Raises:
        FileNotFoundError: if nothing is there.
        ValueError: if it is no sound adapter, has learnt on other weights, or holds nothing learnt.
    """
    method: AdaptedCLIP = adaptkit.load(place, backbone=backbone)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in method.learnt_state().items()}
    if not tensors:
        raise ValueError(f"{place} is an adapter of a method that learns nothing, so there is nothing to start from")
    assert method.spec is not None  # `load` makes methods by their names
    return Start(
        Path(place).name,
        method.spec,
        method.classes.classnames,
        method.bound_to_classes is not None,
        tensors,
        sha256(safetensors.torch.save(tensors)).hexdigest(),
    )


def check_start(start: Start, run: RunConfig, classnames: tuple[str, ...]) -> None:
    """Check that a run trains what the adapter holds.

    Args:
        classnames: those that the run learns on, in label order.

    Raises:
        ValueError: names the first thing that differs, and what to do.
    """
    there, here = [name for name, _ in start.spec.wrappers], [name for name, _ in run.wrap]
    if start.spec.name != run.method or there != here:
        raise ValueError(
            f"{start} is of {'+'.join((start.spec.name, *there))}, and {'+'.join((run.method, *here))} is to be "
            "trained; start from an adapter of the same method with the same wrappers"
        )
    learnt_with = ((start.spec.name, start.spec.config), *start.spec.wrappers)
    for (name, saved), (_, asked) in zip(learnt_with, ((run.method, run.options), *run.wrap), strict=True):
        for option, before, now in _different(saved, asked):
            raise ValueError(
                f"{start} was learnt with {name.upper()}.{option.upper()} {before!r}, and now it is {now!r}; set it as "
                "it was to start from there, or start anew"
            )
    if start.bound_to_classes and start.classnames != classnames:
        raise ValueError(
            f"what {start} has learnt belongs to its own {len(start.classnames)} classes in their order, and "
            f"{_first_difference(start.classnames, classnames)}; give the same classes, or take a method that takes "
            "other names, such as coop"
        )


def _different(saved: object, asked: object) -> Iterator[tuple[str, object, object]]:
    assert dataclasses.is_dataclass(saved)
    for field in dataclasses.fields(saved):
        before, now = getattr(saved, field.name), getattr(asked, field.name)
        if before != now and not any(field.metadata.get(mark) for mark in MAY_DIFFER):
            yield field.name, before, now


def _first_difference(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    if len(before) != len(now):
        return f"there are {len(now)} now"
    place = next(place for place, names in enumerate(zip(before, now, strict=True)) if names[0] != names[1])
    return f"number {place} is {now[place]!r} now, where it was {before[place]!r}"
