"""The commands that are killed: every registered method, wrapper and objective, and every launcher."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptkit import list_methods, list_objectives, list_wrappers
from benchmarks.kills.moments import What, Whom

Launcher = Literal["this process", "loaders", "workers", "together", "ray", "slurm"]

TRAINING = ["THREADS", "1", "OPTIM.BATCH_SIZE", "4", "OPTIM.STEPS", "0", "OPTIM.EPOCHS", "3", "CHECKPOINT.STEPS", "1"]
TRAINING += ["VIEWS.AUGMENT", "exact"]
INSIDE = {"wise": "clip_lora"}  # methods for wrappers that do not go around the one that is saved
SHORTER = {  # prompts and searches, for speed
    "coop": ["COOP.N_CTX", "2"],
    "promptsrc": ["PROMPTSRC.N_CTX_TEXT", "1", "PROMPTSRC.N_CTX_VISION", "1"],
    "das": ["DAS.SEARCH_STEPS", "4", "DAS.SEARCHES", "1", "DAS.REWARD_BATCH", "4"],
}
MIXED = ["coop", "promptsrc", "clip_lora", "tip_adapter"]  # fed with features and with images; one has no steps
SHARED = ["clip_lora", "promptsrc"]  # fed with images, so that processes share a training
COLD = "fresh interpreters"  # in the name of a case whose fork servers are such
MOSTLY_WARM = {"mixed": 0.8, f"mixed, {COLD}": 0.2}  # share of the launcher's kills
SIDE_BY_SIDE = "side by side"  # the name of a case whose seeds learn in one loop
SAVED = "coop"  # the method whose run becomes an adapter
RUN: tuple[What, ...] = ("checkpoint", "checkpoint", "learnt", "record")
# Share of all kills; what is not installed gives its share to the others.
SHARES: dict[Launcher, float] = {
    "this process": 0.78,
    "loaders": 0.03,
    "workers": 0.1,
    "together": 0.065,
    "slurm": 0.02,
    "ray": 0.005,
}
ALONE: tuple[Whom, ...] = ("parent", "group")
WHOM: dict[Launcher, tuple[Whom, ...]] = {
    "this process": ALONE,
    "loaders": ("worker", *ALONE),
    "workers": ("worker", "worker", "worker", "server", *ALONE),
    "together": ("worker", "worker", "server", *ALONE),
    "ray": ("worker",),
    "slurm": ("worker", "worker", *ALONE),
}
# Kills of workers while one command goes on: a launcher gives up after three deaths per worker without progress.
IN_A_ROW: dict[Launcher, int] = {"workers": 5, "slurm": 3, "together": 2, "ray": 3}
NEEDS = {"ray": "ray", "slurm": "submitit", "together": "accelerate"}


@dataclass(frozen=True)
class Case:
    """A command whose results do not depend on how often it is killed."""

    name: str
    launcher: Launcher
    argv: tuple[str, ...]  # {out} and {images} stand for folders, and {run} for that of a finished run
    writes: tuple[What, ...]  # what it writes, most of it more than once
    share: float  # of all kills
    warm: bool = True  # fork servers are forks of warm processes, not fresh interpreters

    @property
    def rounds(self) -> bool:
        """Whether its numbers depend on which runs were trained side by side, by their rounding."""
        return self.name == SIDE_BY_SIDE

    @property
    def whom(self) -> tuple[Whom, ...]:
        return WHOM[self.launcher]

    @property
    def in_a_row(self) -> int:
        return IN_A_ROW.get(self.launcher, 1)

    @property
    def label(self) -> str:
        return f"{self.name}, {self.launcher}"

    def words(self, out: Path, images: Path, run: Path) -> list[str]:
        """The command's words, for folders."""
        folders = {"{out}": str(out), "{images}": str(images), "{run}": str(run)}
        return [next((word.replace(key, to) for key, to in folders.items() if key in word), word) for word in self.argv]


def every_case() -> list[Case]:
    """All cases that can be tried with what is installed."""
    by_launcher: dict[Launcher, list[tuple[str, tuple[str, ...], tuple[What, ...]]]] = {
        "this process": _alone(),
        "loaders": [("promptsrc", bench(["promptsrc"], "DATA.WORKERS", "1"), RUN)],
        "workers": [(name, bench(MIXED, "LAUNCH.WORKERS", "2"), RUN) for name in MOSTLY_WARM],
        "together": [(name, bench(SHARED, "LAUNCH.PROCESSES", "2"), RUN) for name in MOSTLY_WARM],
        "ray": [("some", bench(MIXED, "--launcher", "ray", "--workers", "2"), RUN)],
        "slurm": [("some", bench(MIXED, "--launcher", "slurm", "--workers", "2", "LAUNCH.CLUSTER", "local"), RUN)],
    }
    return [
        Case(name, launcher, argv, writes, SHARES[launcher] * MOSTLY_WARM.get(name, 1 / len(cases)), COLD not in name)
        for launcher, cases in by_launcher.items()
        if launcher not in NEEDS or importlib.util.find_spec(NEEDS[launcher])
        for name, argv, writes in cases
    ]


def _alone() -> list[tuple[str, tuple[str, ...], tuple[What, ...]]]:
    writes: tuple[What, ...] = (*RUN, "artefact", "features", "claim")
    cases = [(name, bench([name]), writes) for name in list_methods()]
    cases += [
        (f"{inner}+{name}", bench([inner], "--wrap", name, *SHORTER.get(name, ())), writes)
        for name in list_wrappers()
        for inner in (INSIDE.get(name, SAVED),)
    ]
    cases += [(f"coop, {name}", bench([SAVED], "--objective", name), writes) for name in list_objectives()]
    out = ("--out", "{out}/adapter", "--device", "cpu", "--shots", "2")
    train = ("train", SAVED, "--data", "{images}/own", *out)
    several = ("train", SAVED, "--data", "{images}/several.csv", *out, *SHORTER[SAVED], *TRAINING)
    return [
        *cases,
        (SIDE_BY_SIDE, bench([SAVED], "LAUNCH.REPLICAS", "16"), writes),
        (f"train {SAVED}", (*train, *SHORTER[SAVED], *TRAINING), (*RUN, "artefact", "artefact")),
        ("train several labels", several, ("checkpoint", "checkpoint", "learnt", "artefact")),
        (f"save {SAVED}", ("save", "{run}", "--out", "{out}/adapter"), ("artefact", "learnt")),
    ]


def bench(methods: Sequence[str], *words: str) -> tuple[str, ...]:
    """The words of a bench of these methods."""
    argv = ("bench", "--protocol", "few_shot", "--methods", ",".join(methods), "--out", "{out}")
    alone = () if "LAUNCH.REPLICAS" in words else ("LAUNCH.REPLICAS", "1")  # then results are equal to the last bit
    shorter = [word for name in methods for word in SHORTER.get(name, ())]
    return (*argv, *words, *alone, "SEEDS", "[1, 2]", "SHOTS", "[2]", "DEVICE", "cpu", *shorter, *TRAINING)
