"""How tests are shared among the cores and marked; `tests.helpers.fixtures` has what they share."""

import gc
import os
from pathlib import Path

import pytest

# One, as products are tiny: on busy cores a second thread waits a hundred times longer than it computes.
THREADS = os.environ.get("ADAPTKIT_TEST_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", THREADS)  # of the commands that tests start

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


def pytest_configure(config: pytest.Config) -> None:
    """Have the fixtures, and torch with them, where tests run: not in the process that hands them out to others."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("tests.helpers.fixtures")


def pytest_collection() -> None:
    """Collect without a garbage collector, which would go through all tests again and again."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave the collected tests out of every later collection of garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test the marker of its folder: `pytest -m parity`."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in ("unit", "contract", "parity", "e2e"):
            item.add_marker(folder)
