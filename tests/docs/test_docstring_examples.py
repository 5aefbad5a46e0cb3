"""The example in the docstring of every public function runs as it stands, on the embedded model."""

import inspect
import re
import textwrap
from dataclasses import dataclass

import open_clip
import pytest
import torch

import adaptkit
from tests.docs.pages import blocks_of, run_page

# Look-ups of what a name stands for, and objectives, have no example: they are one call each.
ELSEWHERE = re.compile(r"(method|wrapper)_(class|config)|(create|register)_objective|objective_(class|config)")
FUNCTIONS = {
    name: thing
    for name in adaptkit.__all__
    if inspect.isfunction(thing := getattr(adaptkit, name)) and not ELSEWHERE.fullmatch(name)
}
FUNCTIONS |= {
    f"AdaptedCLIP.{name}": getattr(adaptkit.AdaptedCLIP, name) for name in ("predict", "save_pretrained", "set_classes")
}
GIVEN = {"adaptkit": adaptkit, "torch": torch, "open_clip": open_clip, "dataclass": dataclass}


def example_of(function) -> str:
    """The section "Example:" of a docstring, as Markdown."""
    _, _, example = (inspect.getdoc(function) or "").partition("\nExample:\n")
    return textwrap.dedent(example)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_function_runs(name, world):
    text = example_of(FUNCTIONS[name])
    assert [block.language for block in blocks_of(text)] == ["python"], f"{name} has no example"
    world.__dict__.update(GIVEN)
    run_page(text, f"the example of {name}", world)
