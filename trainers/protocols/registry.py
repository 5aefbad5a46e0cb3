"""Protocols by name, and what each of them tells everyone who asks: the planner, the tables, the figures, the ledger.

A protocol is one file that registers one `EvalProtocol`, and configs/protocols/<name>.yaml beside the package that
registers it (no file stands for an empty one). No other module knows a protocol by its name.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from datasets_fewshot import FewShotDataset
from trainers.protocols.task import Sources, Targets, Task, Wanted, load_alone

# What one record of the protocol is to its table:
#   "tests"    a row per data set and method, a column per test, and their harmonic mean where there is one
#   "shots"    a row per data set and method, a column per number of shots; there is one test
#   "sources"  a table per data set that was learnt from, its tests being other data sets
#   "domains"  a row per data set and method, a column per domain, and the mean of those that were not learnt
Layout = Literal["tests", "shots", "sources", "domains"]
# Where it tests besides the data set's own images: nowhere, on other data sets of the suite (all of them where none are
# named), or on what the protocol itself can load by the names that the settings give.
TargetKind = Literal["none", "suite", "own"]

MakeTask = Callable[[FewShotDataset, int, int, str, Targets], Task]  # (data set, shots, seed, draw, targets) -> task

SETTINGS_SECTIONS = frozenset({"optim", "views", "backbone", "data", "checkpoint", "launch"})  # of the settings' files


@dataclass(frozen=True)
class EvalProtocol:
    """What is learnt, what is tested, and how the results are shown."""

    name: str  # the stem of its file
    title: str  # a heading of tables and pages
    make_task: MakeTask
    load: Callable[[Wanted], Sources] = load_alone  # raises ValueError where data sets and targets do not fit
    targets: TargetKind = "none"
    tests: Mapping[str, str] = field(default_factory=dict)  # name -> label in tables; none: they bear names of targets
    harmonic: tuple[str, str] | None = None  # two tests whose harmonic mean H ranks methods
    layout: Layout = "tests"
    metric: str = "accuracy"  # the main one of every test: in percent, the more the better
    new_names: bool = False  # it tests on class names that were not learnt
    oracle: bool = False  # methods may be let choose hyper-parameters on the images of its only test

    def __post_init__(self) -> None:
        by_targets = self.layout in ("sources", "domains")
        if by_targets and (self.tests or self.targets == "none"):
            raise ValueError(f"{self.name}: layout {self.layout!r} is for tests on targets; name no tests, but targets")
        if not by_targets and not self.tests:
            raise ValueError(f"{self.name}: layout {self.layout!r} needs the names of the tests")
        if (self.oracle or self.layout == "shots") and len(self.tests) != 1:
            raise ValueError(f"{self.name}: an oracle, or layout 'shots', needs one test; there are {len(self.tests)}")
        if self.harmonic and not set(self.harmonic) <= set(self.tests):
            raise ValueError(f"{self.name}: harmonic is {self.harmonic}; its tests are {', '.join(self.tests)}")

    @property
    def module(self) -> str:
        """The module that it is written in."""
        return self.make_task.__module__

    def label(self, test: str) -> str:
        """What tables call a test."""
        return self.tests.get(test, test)


_PROTOCOLS: dict[str, EvalProtocol] = {}


def register_protocol(protocol: EvalProtocol) -> EvalProtocol:
    """Make a protocol known by its name.

    Raises:
        ValueError: if the name is taken, or is that of a section of the settings.
    """
    name = protocol.name
    if name in _PROTOCOLS:
        raise ValueError(f"protocol {name!r} is already {_PROTOCOLS[name].module}; choose another name")
    if name.lower() in SETTINGS_SECTIONS:
        raise ValueError(f"protocol {name!r} would be called like a section of the settings; choose another name")
    _PROTOCOLS[name] = protocol
    return protocol


def list_protocols() -> list[str]:
    """Names of all protocols, sorted; those of installed plugins are among them."""
    _import_plugins()
    return sorted(_PROTOCOLS)


def get_protocol(name: str) -> EvalProtocol:
    """The protocol of that name.

    Raises:
        ValueError: if there is none; the message has the nearest names.
    """
    if name not in _PROTOCOLS:
        _import_plugins()
    if name not in _PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; {nearest(name, list_protocols())}")
    return _PROTOCOLS[name]


def _import_plugins() -> None:
    from adaptkit.contract.plugins import load_plugins  # methods need torch; tables do not

    load_plugins()


def nearest(word: str, known: Iterable[str]) -> str:
    """ "did you mean a or b?" with up to three near names, or all where none is near."""
    listed = list(known)
    near = difflib.get_close_matches(word, listed, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(listed) or 'none'}"
