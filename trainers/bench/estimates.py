"""Estimates of running time, from records of earlier runs of the same kind; None without such records."""

from collections.abc import Iterable
from statistics import median

from trainers.feeding.views import batch_bounds
from trainers.runs.identity import Run
from trainers.runs.records import ResultRecord

Kind = tuple[str, str, str]  # (data set, method with its wrappers, backbone)


class Estimates:
    """Running times in seconds, from records of the same data set, method and backbone on the same hardware.

    Args:
        hardware: the hardware as records name it; times of other machines are ignored. None takes all.
    """

    def __init__(self, records: Iterable[ResultRecord], hardware: dict[str, str] | None):
        self._records: dict[Kind, list[ResultRecord]] = {}
        for record in records:
            if hardware is None or record.hardware == hardware:
                self.add(record)

    def add(self, record: ResultRecord) -> None:
        """Count one more record."""
        self._records.setdefault((record.dataset, record.label, record.backbone), []).append(record)

    def seconds(self, run: Run) -> float | None:
        """Median time of a run over the records, with the training time scaled to the number of steps."""
        kind = (run.config.dataset, run.config.label, str(run.identity["backbone"]))
        steps = planned_steps(run)
        times = [_scaled(record, steps) for record in self._records.get(kind, []) if bool(record.steps) == bool(steps)]
        return median(times) if times else None

    def seconds_anywhere(self, run: Run) -> float | None:
        """As `seconds`; where there is no record on the run's data set, by those on the others."""
        here = self.seconds(run)
        if here is not None:
            return here
        label, backbone = run.config.label, str(run.identity["backbone"])
        others = [kind for kind in self._records if kind[1:] == (label, backbone)]
        steps = planned_steps(run)
        records = [record for kind in others for record in self._records[kind] if bool(record.steps) == bool(steps)]
        times = [_scaled(record, steps) for record in records]
        return median(times) if times else None


def planned_steps(run: Run) -> int:
    """Number of optimiser steps in a run; 0 if nothing is trained."""
    if not run.uses_training:
        return 0
    optim = run.config.optim
    return optim.step_count(len(batch_bounds(len(run.task.train), optim.batch_size, optim.drop_last)))


def _scaled(record: ResultRecord, steps: int) -> float:
    total, training = sum(record.seconds.values()), record.seconds.get("train", 0.0)
    return total - training + training * (steps / record.steps if record.steps else 1.0)


def spell(seconds: float) -> str:
    """A time in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
