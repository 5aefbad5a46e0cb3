"""Experiment trackers that are told of every run as it finishes: TensorBoard, Weights & Biases, MLflow.

Off unless `bench --log` names them; a tracker's library is imported only then. Records stay the truth: a tracker gets
what a record says, and a run that was finished before is not told again.
"""

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from trainers.launchers import Event, Tell
from trainers.runs.identity import Run
from trainers.runs.records import Json, ResultRecord, read_record, run_folder

PROJECT = "adaptkit"  # in Weights & Biases, unless WANDB_PROJECT names another


class RunLogger(Protocol):
    """What a tracker has to do."""

    errors: tuple[type[Exception], ...]  # by which its library says that it could not be told

    def log(self, record: ResultRecord) -> None:
        """Tell of one finished run."""


class TensorBoardLogger:
    """One folder of event files per run below `tensorboard` in the folder of runs."""

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
            for summary in self.hparams(parameters(record), numbers):  # `add_hparams` would write the numbers twice
                writer.file_writer.add_summary(summary)
            for name, value in numbers.items():
                writer.add_scalar(name, value, record.steps)


class WandbLogger:
    """One run of Weights & Biases per run; WANDB_PROJECT, WANDB_MODE and the like are read by its library.

    Raises:
        ValueError: if its service is to be told and there is no key for it.
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
            settings=self.wandb.Settings(quiet=True, console="off"),  # the terminal is the progress bar's
        )
        run.log(metrics(record), step=record.steps)
        run.finish()


class MLflowLogger:
    """One run of MLflow per run, in `mlflow.db` in the folder of runs unless MLflow was told where to keep its own."""

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
    """A name that MLflow takes: own data may be called what they like."""
    return re.sub(r"[^\w/.\- :]", "_", name)


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
    """A `tell` that also tells the named trackers of every run that is done; one that fails is told of no more.

    Raises:
        ValueError: if there is no tracker of that name; ImportError if its library is not installed.
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
            except logger.errors as error:  # the runs go on, and their records have all that it would have been told
                del loggers[name]
                warnings.warn(f"{name} could not be told of a run and is told of no other ({error})", stacklevel=2)

    return tell_all
