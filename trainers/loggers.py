"""Experiment trackers that are told of every run as it finishes: TensorBoard, Weights & Biases, MLflow.

Off unless `bench --log` names them; a tracker's library is imported only then. Records stay the truth: a tracker gets
what a record says, and a run that was finished before is not told again.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from trainers.launchers import Event, Tell
from trainers.records import Json, ResultRecord, read_record, run_folder
from trainers.run_identity import Run

PROJECT = "adaptkit"  # in Weights & Biases, unless WANDB_PROJECT names another


class RunLogger(Protocol):
    """What a tracker has to do."""

    def log(self, record: ResultRecord) -> None:
        """Tell of one finished run."""


class TensorBoardLogger:
    """One folder of event files per run below `tensorboard` in the folder of runs."""

    def __init__(self, out: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing("tensorboard") from error
        self.open_writer = SummaryWriter
        self.out = out

    def log(self, record: ResultRecord) -> None:
        writer = self.open_writer(str(run_folder(self.out / "tensorboard", record.identity)))
        for name, value in metrics(record).items():
            writer.add_scalar(name, value, record.steps)
        writer.add_hparams(parameters(record), metrics(record), run_name=".")
        writer.close()


class WandbLogger:
    """One run of Weights & Biases per run; WANDB_PROJECT, WANDB_MODE and the like are read by its library."""

    def __init__(self, out: Path):
        try:
            import wandb
        except ImportError as error:
            raise missing("wandb") from error
        self.wandb = wandb
        self.out = out

    def log(self, record: ResultRecord) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run_folder(Path(), record.identity).name,
            group=f"{record.protocol}/{record.dataset}",
            config=parameters(record),
            dir=str(self.out),
        )
        run.log(metrics(record), step=record.steps)
        run.finish()


class MLflowLogger:
    """One run of MLflow per run; below `mlflow` in the folder of runs, unless MLFLOW_TRACKING_URI names a server."""

    def __init__(self, out: Path):
        try:
            import mlflow
        except ImportError as error:
            raise missing("mlflow") from error
        self.mlflow = mlflow
        if "MLFLOW_TRACKING_URI" not in os.environ:
            out.mkdir(parents=True, exist_ok=True)
            mlflow.set_tracking_uri(f"sqlite:///{(out / 'mlflow.db').resolve()}")

    def log(self, record: ResultRecord) -> None:
        self.mlflow.set_experiment(f"{PROJECT}/{record.protocol}")
        with self.mlflow.start_run(run_name=run_folder(Path(), record.identity).name):
            self.mlflow.log_params(parameters(record))
            self.mlflow.log_metrics(metrics(record), step=record.steps)


LOGGERS: Mapping[str, Callable[[Path], RunLogger]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MLflowLogger,
}


def missing(library: str) -> ImportError:
    """The error of a tracker whose library is not installed."""
    return ImportError(f"--log {library} needs its library; install it with: pip install {library}")


def metrics(record: ResultRecord) -> dict[str, float]:
    """The numbers of a run, by names with a slash as trackers group them."""
    numbers: dict[str, float] = {}
    for score in record.scores:
        numbers |= {f"accuracy/{score.name}": score.accuracy, f"ece/{score.name}": score.ece}
        numbers[f"nll/{score.name}"] = score.nll
    numbers |= {f"seconds/{phase}": seconds for phase, seconds in record.seconds.items()}
    if record.final_loss is not None:
        numbers["final_loss"] = record.final_loss
    return numbers


def parameters(record: ResultRecord) -> dict[str, str | int | float | bool]:
    """What was run, flat: {"method": "coop", "optim.lr": 0.002, ...}."""
    return {"run_id": record.run_id, "suite": record.suite, **dict(_flat(record.identity))}


def _flat(content: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, int | float | bool) else str(value)


def telling_loggers(names: Sequence[str], out: Path, runs: Sequence[Run], tell: Tell) -> Tell:
    """A `tell` that also tells the named trackers of every run that is done.

    Raises:
        ValueError: if there is no tracker of that name; ImportError if its library is not installed.
    """
    unknown = [name for name in names if name not in LOGGERS]
    if unknown:
        raise ValueError(f"--log {unknown[0]}: there is no such tracker; name one or more of {', '.join(LOGGERS)}")
    loggers = [LOGGERS[name](out) for name in dict.fromkeys(names)]
    folders = {run.run_id: run.folder for run in runs}

    def tell_all(event: Event) -> None:
        tell(event)
        if event.kind == "done":
            for logger in loggers:
                logger.log(read_record(folders[event.key]))

    return tell_all
