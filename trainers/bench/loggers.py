"""Experiment trackers that hear of every run as it finishes: TensorBoard, Weights & Biases, MLflow.

They are off unless `bench --log` names them; a tracker's library is imported only then. Records stay the truth: a
tracker gets the content of a record, and does not hear again of a run that was finished before.
"""

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from adaptkit.artefacts.atomic_file import Json
from trainers.launchers import Event, Tell
from trainers.runs.identity import Run
from trainers.runs.records import ResultRecord, read_record, run_folder

PROJECT = "adaptkit"  # Project in Weights & Biases, unless WANDB_PROJECT names one.


class RunLogger(Protocol):
    """The interface of a tracker."""

    errors: tuple[type[Exception], ...]  # Errors by which its library reports failed logging.

    def log(self, record: ResultRecord) -> None:
        """Log one finished run."""


class TensorBoardLogger:
    """TensorBoard, with one folder of event files per run below `tensorboard` in the folder of runs."""

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, out: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
            from torch.utils.tensorboard.summary import hparams
        except ImportError as error:
            raise missing("tensorboard") from error
        self.open_writer = SummaryWriter
        self.hparams = hparams
        self.out = out

    def log(self, record: ResultRecord) -> None:
        numbers = metrics(record)
        with self.open_writer(str(run_folder(self.out / "tensorboard", record.identity))) as writer:
            for summary in self.hparams(parameters(record), numbers):  # `add_hparams` would write the numbers twice.
                writer.file_writer.add_summary(summary)
            for name, value in numbers.items():
                writer.add_scalar(name, value, record.steps)


class WandbLogger:
    """Weights & Biases, with one of its runs per run; its library reads WANDB_PROJECT, WANDB_MODE and the like.

    Raises:
        ValueError: if its service is in use and no key is set.
    """

    def __init__(self, out: Path):
        try:
            import wandb
        except ImportError as error:
            raise missing("wandb") from error
        self.wandb = wandb
        self.errors: tuple[type[Exception], ...] = (wandb.Error, OSError)
        self.out = out
        if wandb.setup().settings.mode == "online":
            try:
                wandb.login()
            except wandb.Error as error:
                raise ValueError(
                    f"--log wandb: {error} WANDB_MODE=offline keeps its files beside the runs instead"
                ) from error

    def log(self, record: ResultRecord) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run_folder(Path(), record.identity).name,
            group=f"{record.protocol}/{record.dataset}",
            config=parameters(record),
            dir=str(self.out),
            settings=self.wandb.Settings(quiet=True, console="off"),  # The progress bar owns the terminal.
        )
        run.log(metrics(record), step=record.steps)
        run.finish()


class MLflowLogger:
    """MLflow, with one of its runs per run, in `mlflow.db` in the folder of runs unless MLflow has another setting."""

    def __init__(self, out: Path):
        try:
            import mlflow
        except ImportError as error:
            raise missing("mlflow") from error
        self.mlflow = mlflow
        self.errors: tuple[type[Exception], ...] = (mlflow.MlflowException, OSError)
        out.mkdir(parents=True, exist_ok=True)
        ours = f"sqlite:///{(out / 'mlflow.db').resolve()}"
        self.client = mlflow.MlflowClient(mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else ours)

    def log(self, record: ResultRecord) -> None:
        name = f"{PROJECT}/{record.protocol}"
        known = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if known is None else known.experiment_id
        run = self.client.create_run(experiment, run_name=run_folder(Path(), record.identity).name).info.run_id
        settings = [self.mlflow.entities.Param(_mlflow_name(key), str(v)) for key, v in parameters(record).items()]
        now = int(time.time() * 1000)
        numbers = [
            self.mlflow.entities.Metric(_mlflow_name(key), value, now, record.steps)
            for key, value in metrics(record).items()
        ]
        self.client.log_batch(run, numbers, settings)
        self.client.set_terminated(run)


def _mlflow_name(name: str) -> str:
    """A name that MLflow accepts; names of own data may hold other letters."""
    return re.sub(r"[^\w/.\- :]", "_", name)


LOGGERS: Mapping[str, Callable[[Path], RunLogger]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MLflowLogger,
}


def missing(library: str) -> ImportError:
    """An ImportError for a tracker with no library installed."""
    return ImportError(f"--log {library} needs its library; install it with: pip install {library}")


def metrics(record: ResultRecord) -> dict[str, float]:
    """Numbers of a run, under names with a slash as trackers group them."""
    numbers: dict[str, float] = {}
    for score in record.scores:
        numbers |= {f"{metric}/{score.name}": value for metric, value in score.metrics.items()}
    numbers |= {f"seconds/{phase}": seconds for phase, seconds in record.seconds.items()}
    if record.final_loss is not None:
        numbers["final_loss"] = record.final_loss
    return numbers


def parameters(record: ResultRecord) -> dict[str, str | int | float | bool]:
    """Settings of a run, flat: {"method": "coop", "optim.lr": 0.002, ...}."""
    return {"run_id": record.run_id, "suite": record.suite, **dict(_flat(record.identity))}


def _flat(content: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, int | float | bool) else str(value)


def telling_loggers(names: Sequence[str], out: Path, runs: Sequence[Run], tell: Tell) -> Tell:
    """A `tell` that also informs the named trackers of every finished run; a failed tracker hears no more.

    Raises:
        ValueError: if there is no tracker of that name.
        ImportError: if its library is not installed.
    """
    unknown = [name for name in names if name not in LOGGERS]
    if unknown:
        raise ValueError(f"--log {unknown[0]}: there is no such tracker; name one or more of {', '.join(LOGGERS)}")
    loggers = {name: LOGGERS[name](out) for name in names}
    folders = {run.run_id: run.folder for run in runs}

    def tell_all(event: Event) -> None:
        tell(event)
        if event.kind != "done":
            return
        record = read_record(folders[event.key])
        for name, logger in list(loggers.items()):
            try:
                logger.log(record)
            # The runs go on, and their records keep everything for this tracker.
            except logger.errors as error:
                del loggers[name]
                warnings.warn(f"{name} could not be told of a run and is told of no other ({error})", stacklevel=2)

    return tell_all
