"""Shared fixtures: a tiny seeded CLIP, class names, one batch. No network."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adaptkit import FrozenCLIP
from tests.helpers.meta_models import one_for_every_backbone
from tests.helpers.models import build

# One, as products are tiny: on busy cores a second thread waits a hundred times longer than it computes.
THREADS = os.environ.get("ADAPTKIT_TEST_THREADS", "1")
torch.set_num_threads(int(THREADS))
os.environ.setdefault("OMP_NUM_THREADS", THREADS)  # of the commands that tests start

for logger in (logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("torch")):
    logger.propagate = True  # else pytest hangs its handlers to each of sixty, six times a test

CLASSES = ("golden retriever", "ramen", "highway_or_road", "737-200", "Sea or Lake")

MOST_WORKERS = 8  # each has a torch of its own, and e2e tests start more


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the whole suite among the cores; `-n` says otherwise, and chosen tests run one by one."""
    option = config.option
    chosen = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or option.keyword
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    if option.numprocesses is None and not chosen and "not gpu" in option.markexpr and not option.usepdb:
        option.numprocesses, option.dist = min(MOST_WORKERS, os.cpu_count() or 1), "loadfile"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test the marker of its folder: `pytest -m parity`."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in ("unit", "contract", "parity", "e2e"):
            item.add_marker(folder)


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
def golden_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")
