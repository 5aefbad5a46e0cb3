"""Facts about every method and wrapper, found by making it: one row each for `adaptkit methods`.

The parameters are counted on a model of ViT-B/16's shapes without its weights, so nothing is downloaded or encoded.
"""

import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import get_args

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from torch import Tensor

from adaptkit import (
    AdaptedCLIP,
    FrozenCLIP,
    Support,
    create_method,
    list_methods,
    list_test_time,
    list_wrappers,
    wrapper_class,
    wrapper_config,
)
from adaptkit.backbone.tokenizer import clip_words
from adaptkit.contract.batches import LabelledBatch
from adaptkit.contract.catalogue import Touches
from adaptkit.contract.registry import METHODS, OBJECTIVES
from adaptkit.options import OptionFacts, describe
from trainers.cli.released_code import licence_of, repository_of
from trainers.config.settings import DataclassInstance

ANY_BACKBONE = "any backbone"
ORDER = (*get_args(Touches), "own")
CLASSES = tuple(f"class {index}" for index in range(100))
SHOTS = 16
RESNET: Mapping[str, object] = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
SMALL_TEXT: Mapping[str, object] = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}


@dataclass(frozen=True)
class MethodFacts:
    """A row of the table: one method or wrapper."""

    name: str
    # The place where a method touches CLIP, as registered, such as "before" the towers; "around" for wrappers.
    kind: str
    trains_on: str  # "features", "tokens" or "images"; of an objective, "labels" or "pairs".
    needs: str  # "ViT blocks" or "any backbone".
    # Trainable parameters on ViT-B/16 with 100 classes of 16 shots; wrappers stand around zero-shot CLIP.
    parameters: int
    paper: str  # An arXiv number, or "" if its module names none.
    summary: str  # First line of its module's docstring.
    options: dict[str, object]  # Options with their defaults.
    sees: str  # What it learns from of unlabelled test images, such as "episodic"; "" where it sees none.
    released: str  # The repository of the paper's code, "" where there is none.
    licence: str  # Of that code, or why there is none; "" for what is not ours.
    described: list[OptionFacts]  # The same options with their sentences and the values that each takes.


class _Shapes(FrozenCLIP):
    """A backbone whose features are zeros: enough to make a method at once and count its learnt parameters."""

    def encode_text(self, texts: Sequence[str] | Tensor) -> Tensor:
        if len(texts) < len(CLASSES):  # A method tries its layers on a text.
            return super().encode_text(texts)
        return torch.zeros(len(texts), self.embed_dim)

    def encode_words(self, texts: Sequence[str] | Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.zeros(len(texts), 1, self.text_width)
        return rows, torch.ones(len(texts), 1, dtype=torch.bool)


def facts(name: str | None = None) -> list[MethodFacts]:
    """Rows of what is registered under a name; of everything, if no name is given.

    Methods come first, then wrappers and objectives; one of each kind may have the name.
    """

    def asked(names: Sequence[str]) -> list[str]:
        return [one for one in names if name in (None, one)]

    methods, wrappers, objectives = (asked(names) for names in (list_methods(), list_wrappers(), OBJECTIVES.names()))
    if not (methods or wrappers):
        return objective_facts(objectives)
    vit, resnet = models_of_shapes()
    return [
        *method_facts(methods, vit, resnet),
        *wrapper_facts(wrappers, vit, resnet),
        *objective_facts(objectives),
    ]


def method_facts(names: Sequence[str], vit: FrozenCLIP, resnet: FrozenCLIP) -> list[MethodFacts]:
    """A row for each of the methods, sorted by kind and name."""
    with _quiet():
        rows = [_facts(name, vit, resnet) for name in names]
    return sorted(rows, key=lambda row: (ORDER.index(row.kind), row.name))


def wrapper_facts(names: Sequence[str], vit: FrozenCLIP, resnet: FrozenCLIP) -> list[MethodFacts]:
    """A row for each of the wrappers, around a method that learns nothing itself.

    Test-time methods have rows as methods, which say that they stand around others, too.
    """
    with _quiet():
        return [_wrapper_facts(name, vit, resnet) for name in names if name not in list_test_time()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings about classes that stand for any others, such as that nothing describes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def objective_facts(names: Sequence[str]) -> list[MethodFacts]:
    """A row for each of the objectives."""
    rows = []
    for name in names:
        entry = OBJECTIVES.get(name)
        number, summary = _paper_and_summary(entry.made_from)
        takes = "labels" if entry.made_from.takes is LabelledBatch else "pairs"
        options = entry.config()
        rows.append(
            MethodFacts(
                name,
                "objective",
                takes,
                ANY_BACKBONE,
                0,
                number,
                summary,
                asdict(options),
                sees="",
                released=repository_of(name),
                licence=licence_of(name),
                described=describe(entry.config),
            )
        )
    return rows


def _paper_and_summary(made_from: type) -> tuple[str, str]:
    """The arXiv number in the docstring of a class's module, or "", and the docstring's first line."""
    doc = (sys.modules[made_from.__module__].__doc__ or "").strip()
    number = re.search(r"arXiv:(\d{4}\.\d{4,5})", doc)
    return number[1] if number else "", doc.splitlines()[0] if doc else ""


def _facts(name: str, vit: FrozenCLIP, resnet: FrozenCLIP) -> MethodFacts:
    method = create_method(name, vit, CLASSES, _without_files(name))
    if "prepare" in method.provides and method.consumes == "features":
        labels = torch.arange(len(CLASSES)).repeat_interleave(SHOTS)
        method.prepare(Support(torch.zeros(len(labels), vit.embed_dim), labels))
    entry = METHODS.get(name)
    return _row(name, entry.touches or "own", entry.made_from, method, _can_be_made(name, (), resnet), entry.config())


def _without_files(name: str) -> object:
    """The default options, with the word in place of each file that comes with an adapter: these shapes have none."""
    config = METHODS.get(name).config
    return config(**{field.name: field.metadata["kept"] for field in fields(config) if field.metadata.get("kept")})


def _wrapper_facts(name: str, vit: FrozenCLIP, resnet: FrozenCLIP) -> MethodFacts:
    options: DataclassInstance = wrapper_config(name)()
    made = create_method("zero_shot", vit, CLASSES, wrap=[(name, options)])
    search = made.search()
    if search is not None:  # The method as its search leaves it.
        made = create_method("zero_shot", vit, CLASSES, wrap=[(name, search.settled(search.result(0)))])
    return _row(name, "around", wrapper_class(name), made, _can_be_made("zero_shot", (name,), resnet), options)


def _row(
    name: str, kind: str, made_from: type, method: AdaptedCLIP, takes_any_backbone: bool, options: DataclassInstance
) -> MethodFacts:
    number, summary = _paper_and_summary(made_from)
    return MethodFacts(
        name=name,
        kind=kind,
        trains_on=method.consumes,
        needs=ANY_BACKBONE if takes_any_backbone else "ViT blocks",
        parameters=sum(parameter.numel() for parameter in method.learnt_parameters().values()),
        paper=number,
        summary=summary,
        options=asdict(options),
        sees=method.sees or "",
        released=repository_of(name),
        licence=licence_of(name),
        described=describe(type(options)),
    )


def _can_be_made(name: str, wrap: Sequence[str], backbone: FrozenCLIP) -> bool:
    try:
        create_method(name, backbone, CLASSES[:2], _without_files(name), wrap=wrap)
    except ValueError:
        return False
    return True


def models_of_shapes() -> tuple[FrozenCLIP, FrozenCLIP]:
    """The backbones on which methods are made: one of ViT-B/16's shapes, and a ResNet, which has no blocks."""
    return vit_b_16(), _without_weights(32, RESNET, SMALL_TEXT)


def vit_b_16() -> FrozenCLIP:
    """A backbone of ViT-B/16's shapes, all zeros, which returns text features without any work."""
    config = open_clip.get_model_config("ViT-B-16")
    return _without_weights(config["embed_dim"], config["vision_cfg"], config["text_cfg"])


def _without_weights(embed_dim: int, vision: Mapping[str, object], text: Mapping[str, object]) -> FrozenCLIP:
    with torch.device("meta"):  # No time goes into random numbers.
        model = CLIP(embed_dim, dict(vision), dict(text))
    model._apply(_zeros)
    model.attn_mask = torch.full((model.context_length, model.context_length), -torch.inf).triu(1)
    return _Shapes(model, clip_words(model.context_length), "ViT-B-16")


def _zeros(meta: Tensor) -> Tensor:
    """Zeros of a shape and type in pages that the system has not handed out yet: nothing is written."""
    empty = torch.empty(0, dtype=meta.dtype).numpy()
    return torch.from_numpy(np.zeros(tuple(meta.shape), empty.dtype))


def methods_table(rows: Sequence[MethodFacts]) -> RichTable:
    """The rows as a table for terminals."""
    table = RichTable(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for header in ("method", "kind", "trains on", "needs", "trainable", "arXiv", "its code"):
        table.add_column(header, justify="right" if header == "trainable" else "left")
    for row in rows:
        needs = "any" if row.needs == ANY_BACKBONE else row.needs
        kind = f"{row.kind}: {row.sees}" if row.sees else row.kind
        table.add_row(row.name, kind, row.trains_on, needs, f"{row.parameters:,}", row.paper or "–", row.licence or "–")
    return table
