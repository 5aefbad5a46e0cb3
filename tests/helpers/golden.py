"""Fixtures recorded from the papers' released code on a tiny CLIP: tensors, and how far ours may be from them.

The recorded code computed in float32, and ran once more in float64: each manifest has the largest difference of the
two, which is the recording's own rounding. Numbers that ours computes in float64 must lie that near, on any processor.
In float32 ours is rounded as well, otherwise on every processor; the manifest suggests a bound of ten such roundings.
"""

import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from adaptkit import FrozenCLIP, load_backbone

FIXTURES = Path(__file__).parents[1] / "parity" / "fixtures"


@cache
def manifest(folder: str) -> dict:
    return json.loads((FIXTURES / folder / "manifest.json").read_text())


def variants(folder: str) -> list[str]:
    return sorted(manifest(folder)["variants"])


class Golden:
    """One variant of one folder: `settings`, tensors by name, and comparison in torch's default precision."""

    def __init__(self, folder: str, variant: str):
        entry = manifest(folder)["variants"][variant]
        self.settings = entry["hyper_parameters"]
        self.tensors = load_file(FIXTURES / folder / entry["file"])
        self.atol = {tensor["name"]: float(tensor.get("atol", 0)) for tensor in entry["tensors"]}
        self.rounding = {tensor["name"]: tensor.get("f64_diff", 0.0) for tensor in entry["tensors"]}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.tensors[name]
        return tensor.double() if in_float64() and tensor.is_floating_point() else tensor

    def tolerance(self, name: str) -> float:
        """How far ours may be from a recorded tensor."""
        if not in_float64():
            return self.atol[name]
        largest = max(self.tensors[name].abs().flatten().tolist(), default=0.0)
        # The manifest cuts a rounding off after its second digit; those of float64 are far below the last summand.
        return 1.1 * self.rounding[name] + 1e-12 * largest

    def check(self, name: str, ours: Tensor) -> None:
        """Compare what one forward and backward pass gives."""
        self._compare(name, ours, self.tolerance(name))

    def check_trained(self, name: str, ours: Tensor) -> None:
        """Compare what optimiser steps led to.

        They multiply what the first gradients were rounded by, by twelve in one of the recorded runs, and by how much
        depends on where the gradient of that processor happens to lie. So in float32 this only tells that ours learns
        about the same; that it learns the same is told in float64, at the recording's own rounding.
        """
        self._compare(name, ours, self.tolerance(name) * (1 if in_float64() else 2))

    def _compare(self, name: str, ours: Tensor, atol: float) -> None:
        torch.testing.assert_close(ours.detach(), self.tensors[name].to(ours.dtype), rtol=0, atol=atol)


def in_float64() -> bool:
    """Whether tests compute in float64 now: the fixture `dtype` of the parity tests has them do so."""
    return torch.get_default_dtype() == torch.float64


def tiny_state(kind: str) -> dict[str, Tensor]:
    """OpenAI state dict of the tiny model ("vit" or "rn"), with its whole token embedding."""
    state = load_file(FIXTURES / "clip_tiny" / f"{kind}.safetensors")
    ids, rows = state.pop("token_embedding.row_ids"), state.pop("token_embedding.rows")
    table = torch.zeros(49408, rows.shape[1], dtype=rows.dtype)
    table[ids] = rows
    return state | {"token_embedding.weight": table}


def tiny_backbone(kind: str, folder: Path) -> FrozenCLIP:
    """The tiny model in torch's default precision, loaded as a user would load an archive in OpenAI's format."""
    return _tiny_backbone(kind, folder, torch.get_default_dtype())


@cache
def _tiny_backbone(kind: str, folder: Path, dtype: torch.dtype) -> FrozenCLIP:
    from safetensors.torch import save_file

    path = folder / f"{kind}.safetensors"
    save_file(tiny_state(kind), path)
    return load_backbone("auto", checkpoint=path).to(dtype)


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Images (4, 3, 64, 64) in torch's default precision and labels (4,) of training step `step`."""
    batches = load_file(FIXTURES / "clip_tiny" / "batches.safetensors")
    return batches["images"][step].to(torch.get_default_dtype()), batches["labels"][step].long()
