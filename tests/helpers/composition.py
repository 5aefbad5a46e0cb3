"""Try every method under every wrapper; docs/composition.md holds the outcomes.

`python -m tests.helpers.composition` writes that page again.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import FrozenCLIP, Support, create_method, list_methods, list_wrappers, wrapper_config
from tests.conftest import CLASSES
from tests.helpers.meta_models import one_for_every_backbone
from tests.helpers.models import build, consumed

PAGE = Path(__file__).parents[2] / "docs" / "composition.md"
# Options by wrapper, as suggested by its refusals, to try when the default options are refused.
ALTERNATIVES: dict[str, dict[str, object]] = {
    "das": {"encoder": "vision", "skip_text": 0},
    "fdt": {"coupling": "separate"},
}
HEAD = """# Which wrapper stands around which method

`create_method(method, backbone, classnames, wrap=[...])` and `adaptkit bench --methods METHOD --wrap WRAPPER`.
This page is written by `python -m tests.helpers.composition`; `tests/contract/test_every_wrapper.py` trains, saves and
restores every pair and fails where the page says something else.
"""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a pair of method and wrapper."""

    wrap: tuple[tuple[str, object], ...]  # the wrapper with the options that worked, else the default ones
    changed: dict[str, object]  # options that differ from the default
    refusal: str  # refusal of the default options; "" if they work
    works: bool


def outcome(backbone: FrozenCLIP, method: str, wrapper: str) -> Outcome:
    """Make the pair with the wrapper's default options, or with those that its refusal suggests."""
    options = wrapper_config(wrapper)()
    refusal = ""
    for changed in ({}, ALTERNATIVES.get(wrapper, {})):
        wrap = ((wrapper, replace(options, **changed)),)
        try:
            create_method(method, backbone, CLASSES, wrap=wrap)
        except ValueError as error:
            refusal = refusal or str(error)
            continue
        return Outcome(wrap, changed, refusal, works=True)
    return Outcome(((wrapper, options),), {}, refusal, works=False)


@cache
def learner_inside(wrapper: str) -> str:
    """A method that learns inside the wrapper: coop, where learnt prompts are refused clip_adapter, or clip_lora."""
    found = (name for name in ("coop", "clip_adapter") if outcome(build("clip_vit"), name, wrapper).works)
    return next(found, "clip_lora")


def settled(
    backbone: FrozenCLIP, method: str, wrap: tuple[tuple[str, object], ...], images: Tensor, labels: Tensor
) -> tuple[tuple[str, object], ...]:
    """The wrappers' options after a search of two steps and a reward, or unchanged if there is nothing to search."""
    made = create_method(method, backbone, CLASSES, wrap=wrap)
    search = made.search()
    if search is None:
        return wrap
    x = consumed(made, images)
    made.prepare(Support(x, labels))
    for _ in range(2):
        search.sample()
        made.backward(x, labels)
    choices, losses = search.candidates(), []
    with torch.no_grad():
        for choice in choices:
            search.use(choice)
            losses.append(float(torch.nn.functional.cross_entropy(made.eval().logits(x), labels)))
    search.learn(choices, losses)
    options = search.settled(search.result(0))
    return tuple((name, options if own is search.options else own) for name, own in wrap)


def page() -> str:
    """Write the whole page as Markdown."""
    backbone, wrappers = build("clip_vit"), list_wrappers()
    lines = [
        HEAD,
        "| method | " + " | ".join(f"`{name}`" for name in wrappers) + " |",
        "|---" * (len(wrappers) + 1) + "|",
    ]
    notes: list[str] = []
    for method in list_methods():
        cells = []
        for wrapper in wrappers:
            found = outcome(backbone, method, wrapper)
            cells.append(_cell(found, notes))
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))]
    return "\n".join(lines).rstrip() + "\n"


def _cell(found: Outcome, notes: list[str]) -> str:
    if found.works and not found.changed:
        return "works"
    if found.refusal not in notes:
        notes.append(found.refusal)
    number = notes.index(found.refusal) + 1
    if not found.works:
        return f"refused ({number})"
    return f"works with {', '.join(f'{key}={value!r}' for key, value in found.changed.items())} ({number})"


if __name__ == "__main__":
    with one_for_every_backbone():
        PAGE.write_text(page())
