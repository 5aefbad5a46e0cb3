"""Shared fixtures: a tiny seeded CLIP, class names, one batch. No network."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adaptkit import FrozenCLIP
from tests.models import build

torch.set_num_threads(1)  # tiny products: on busy cores a second thread waits a hundred times longer than it computes

CLASSES = ("golden retriever", "ramen", "highway_or_road", "737-200", "Sea or Lake")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_clip() -> FrozenCLIP:
    return build("clip_vit")


@pytest.fixture(scope="session")
def classes() -> tuple[str, ...]:
    return CLASSES


@pytest.fixture(scope="session")
def batch() -> tuple[Tensor, Tensor]:
    """Images (6, 3, 32, 32) and labels (6,)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.fixture(scope="session")
def golden_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")
