"""Fixtures recorded from the papers' released code on a tiny CLIP: tensors and their tolerances."""

import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from adaptkit import FrozenCLIP, load_backbone

FIXTURES = Path(__file__).parent / "parity" / "fixtures"


@cache
def manifest(folder: str) -> dict:
    return json.loads((FIXTURES / folder / "manifest.json").read_text())


def variants(folder: str) -> list[str]:
    return sorted(manifest(folder)["variants"])


class Golden:
    """One variant in one folder: `settings`, tensors by name, and comparison at the manifest's tolerance."""

    def __init__(self, folder: str, variant: str):
        entry = manifest(folder)["variants"][variant]
        self.settings = entry["hyper_parameters"]
        self.tensors = load_file(FIXTURES / folder / entry["file"])
        self.atol = {tensor["name"]: float(tensor["atol"]) for tensor in entry["tensors"]}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def check(self, name: str, ours: Tensor) -> None:
        torch.testing.assert_close(ours.detach(), self.tensors[name].to(ours.dtype), rtol=0, atol=self.atol[name])


def tiny_state(kind: str) -> dict[str, Tensor]:
    """OpenAI state dict of the tiny model ("vit" or "rn"), with the whole token embedding."""
    state = load_file(FIXTURES / "clip_tiny" / f"{kind}.safetensors")
    ids, rows = state.pop("token_embedding.row_ids"), state.pop("token_embedding.rows")
    table = torch.zeros(49408, rows.shape[1], dtype=rows.dtype)
    table[ids] = rows
    return state | {"token_embedding.weight": table}


@cache
def tiny_backbone(kind: str, folder: Path) -> FrozenCLIP:
    """The tiny model, loaded as a user loads an archive in OpenAI's format."""
    from safetensors.torch import save_file

    path = folder / f"{kind}.safetensors"
    save_file(tiny_state(kind), path)
    return load_backbone("auto", checkpoint=path)


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Images (4, 3, 64, 64) and labels (4,) of training step `step`."""
    batches = load_file(FIXTURES / "clip_tiny" / "batches.safetensors")
    return batches["images"][step], batches["labels"][step].long()
