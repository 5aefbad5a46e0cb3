"""What all tests share: a tiny seeded CLIP, class names, one batch. No network.

`tests/conftest.py` has these imported where tests run, and not where they are only handed out.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adaptkit import FrozenCLIP
from tests.conftest import CLASSES, THREADS
from tests.helpers.commands import Commands, commands
from tests.helpers.meta_models import one_for_every_backbone
from tests.helpers.models import build

torch.set_num_threads(int(THREADS))

for logger in (logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("torch")):
    logger.propagate = True  # else pytest hangs its handlers to each of sixty, six times a test


@pytest.fixture(autouse=True)
def _seed() -> None:
    """As `torch.manual_seed(0)`, which takes half a millisecond to note a trace of its call for absent devices."""
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(scope="session")
def tiny_clip() -> FrozenCLIP:
    return build("clip_vit")


@pytest.fixture
def meta_models() -> Iterator[None]:
    """For tests of every method: `sinc_meta` finds a meta-model for any backbone."""
    with one_for_every_backbone():
        yield


@pytest.fixture(scope="session")
def classes() -> tuple[str, ...]:
    return CLASSES


@pytest.fixture(scope="session")
def batch() -> tuple[Tensor, Tensor]:
    """Images (6, 3, 32, 32) and labels (6,)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.fixture(scope="session")
def started() -> Iterator[Commands]:
    """Commands in processes of their own, without the seconds in which each would import torch."""
    with commands() as found:
        yield found


@pytest.fixture(scope="session")
def golden_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")
