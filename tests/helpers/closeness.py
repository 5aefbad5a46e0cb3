"""A plugin for pytest that writes down how each test ended and how near it came to a tolerance.

    python -m pytest -p tests.helpers.closeness --closeness FILE ...

Of all that a test compares with `torch.testing.assert_close`, FILE has the largest difference as a share of what is
allowed; what is compared otherwise, and what has to be equal, is not in there.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

DEFAULTS = {  # dtype -> rtol, atol that `assert_close` documents
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
}


def share_of_tolerance(ours: object, theirs: object, rtol: float | None, atol: float | None) -> float:
    """The largest difference of two tensors, or of two collections of them, as a share of what is allowed."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        pairs = [(value, theirs[name]) for name, value in ours.items() if name in theirs]
    elif isinstance(ours, Sequence) and isinstance(theirs, Sequence) and not isinstance(ours, str):
        pairs = list(zip(ours, theirs, strict=False))
    else:
        return _share(ours, theirs, rtol, atol)
    return max((share_of_tolerance(*pair, rtol, atol) for pair in pairs), default=0.0)


def _share(ours: object, theirs: object, rtol: float | None, atol: float | None) -> float:
    if not (isinstance(ours, Tensor) and isinstance(theirs, Tensor) and ours.numel() and ours.is_floating_point()):
        return 0.0
    if ours.shape != theirs.shape:
        return 0.0
    if rtol is None or atol is None:
        defaults = [DEFAULTS[tensor.dtype] for tensor in (ours, theirs) if tensor.dtype in DEFAULTS]
        rtol, atol = (max(bounds) for bounds in zip(*defaults, strict=True))
    x, y = (tensor.detach().cpu().double() for tensor in (ours, theirs))
    difference, allowed = (x - y).abs(), atol + rtol * y.abs()
    inexact = (allowed > 0) & difference.isfinite()
    return float((difference / allowed)[inexact].max()) if inexact.any() else 0.0


class Closeness:
    """What is written down of the tests of one session."""

    def __init__(self, path: Path):
        self.path = path
        self.now = ""
        self.shares: dict[str, float] = {}
        self.outcomes: dict[str, str] = {}

    def watched(self, assert_close: Callable[..., None]) -> Callable[..., None]:
        """`assert_close`, noting the share."""

        def watch(
            actual: object, expected: object, rtol: float | None = None, atol: float | None = None, **options: object
        ) -> None:
            __tracebackhide__ = True
            share = share_of_tolerance(actual, expected, rtol, atol)
            self.shares[self.now] = max(self.shares.get(self.now, 0.0), share)
            assert_close(actual, expected, rtol=rtol, atol=atol, **options)

        return watch

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.now = item.nodeid
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed or report.skipped:
            self.outcomes[report.nodeid] = report.outcome

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps({"outcomes": self.outcomes, "shares": self.shares}))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--closeness", type=Path, help="file to write outcomes and shares of tolerances to")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--closeness"):
        closeness = Closeness(path)
        config.pluginmanager.register(closeness)
        torch.testing.assert_close = closeness.watched(torch.testing.assert_close)
