"""Identity of a run: its settings, its data, and an id of everything that can change its result."""

import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

from adaptkit import AdaptedCLIP
from adaptkit.artefacts.atomic_file import Json
from adaptkit.contract.method import Consumes, Sees
from adaptkit.contract.registry import objective_class
from datasets_fewshot import FewShotDataset, Item, files_hash, items_hash
from datasets_fewshot.splits.draws import LISTED, LONG_TAILED
from trainers.config.settings import OWN_SUITE, DataclassInstance, RunConfig
from trainers.protocols.task import Task, is_transductive
from trainers.runs.class_texts import notes_on_texts, read_classes
from trainers.runs.data import Bench
from trainers.runs.records import run_folder, run_id
from trainers.runs.start import Start

SEEN: dict[Sees, str] = {
    "episodic": "one at a time",
    "online": "one after another in an order drawn by the seed",
    "transductive": "all of a test at once, so its numbers stand apart from those of methods that see one image alone",
}
# The usual draw; a run with another draw names it and is a different run.
PROTOCOL_DRAW = "coop"


@dataclass(frozen=True)
class Run:
    """A run with its data at hand."""

    config: RunConfig
    dataset: FewShotDataset
    task: Task
    # False: nothing is learnt or kept of training images, so shots and seeds do not matter.
    uses_training: bool
    identity: dict[str, Json]
    folder: Path
    consumes: Consumes  # Kind of input of its method.
    processes: int = 1  # Number of processes that train it together.
    sees: Sees | None = None  # What its method learns from of unlabelled test images.
    alone: str | None = None  # Why it is not trained side by side with runs of other seeds; None where it may be.

    @property
    def uses_seed(self) -> bool:
        """Whether runs of other seeds are other runs: other shots, or another order of the test images."""
        return self.uses_training or self.sees == "online"

    @property
    def run_id(self) -> str:
        return run_id(self.identity)


@dataclass(frozen=True)
class Needs:
    """Training needs of a method with its options and wrappers."""

    training: bool  # True if training images matter to it.
    consumes: Consumes  # Kind of input: features, rows or images.
    sees: Sees | None = None  # What it learns from of unlabelled test images.
    alone: str | None = None  # Why its trainings are not side by side; None where they may be.


def make_run(config: RunConfig, dataset: FewShotDataset, task: Task, needs: Needs, bench: Bench) -> Run:
    """Give a run its identity: everything that can change its result, but no path, host or clock."""
    identity: dict[str, Json] = {
        "protocol": config.protocol,
        "dataset": config.dataset,
        "tests": {test.name: _fingerprint(test.items, test.classnames) for test in task.tests},
        "method": config.method,
        "options": said(config.options),
        "templates": list(config.templates),
        "backbone": bench.backbone.name,
        "weights": bench.backbone.weights_hash,
        "preprocess": asdict(bench.backbone.preprocess_cfg),
        "precision": bench.precision,
        "shots": 0,
        "seed": 0,
    }
    classes = read_classes(config, task.classnames)
    if classes.sentences is not None or classes.spoken is not None:
        identity["texts"] = sha256(json.dumps([classes.spoken, classes.sentences]).encode()).hexdigest()
    if config.wrap:  # An identity without wrappers does not mention them.
        identity["wrap"] = [[name, said(options)] for name, options in config.wrap]
    # Processes share the image batches of a training.
    processes = bench.processes if needs.training and needs.consumes == "images" else 1
    if processes > 1:  # Dropout and last digits differ then.
        identity["processes"] = processes
    if needs.sees == "online":  # The seed of the order in which the test images come.
        identity["seed"] = config.seed
    if needs.training:
        identity |= {
            "train": _fingerprint(task.train, task.classnames),
            "val": _fingerprint(task.val, task.classnames),
            "shots": config.shots,
            "seed": config.seed,
            "optim": said(config.optim),
            "views": asdict(config.views),
        }
        # The record has both, so a run with them is a run of its own.
        if config.objective:  # Where none is named, a method's own loss is minimised, and an identity says nothing.
            identity["objective"] = [[name, said(options)] for name, options in config.objective]
        for key in ("recipe", "selection"):
            if getattr(config, key) in ("paper", "oracle", "validation_free"):
                identity[key] = getattr(config, key)
        if config.unlabelled == "all":
            identity |= {"unlabelled": "all", "transductive": is_transductive(task)}
        if config.draw != PROTOCOL_DRAW:
            identity["draw"] = config.draw
        if config.split_file:
            identity["split_file"] = config.split_file
        if (start := bench.start_of(config)) is not None:
            identity["start"] = start.sha256
    if config.selection == "published":
        identity["selection"] = "published"
    if bench.suite == OWN_SUITE:  # File names do not tell folders of images apart.
        identity["files"] = [
            files_hash(data.image_root, [*data.split.train, *data.split.val, *data.split.test])
            for data in _datasets(task, dataset)
        ]
    # The identity as a record stores it.
    identity = json.loads(json.dumps(identity))
    folder = run_folder(bench.out, identity)
    return Run(
        config, dataset, task, needs.training, identity, folder, needs.consumes, processes, needs.sees, needs.alone
    )


def said(options: DataclassInstance) -> dict[str, Json]:
    """Options for an identity: a file by the hash of its content instead of its path, left out if there is no file."""
    said: dict[str, Json] = asdict(options)
    for field in fields(options):
        if field.metadata.get("added") and getattr(options, field.name) == field.default:
            said.pop(field.name)
        if find := field.metadata.get("file"):
            name = said.pop(field.name)
            if name:
                said[field.name] = sha256(find(name).read_bytes()).hexdigest()
    return said


def _datasets(task: Task, dataset: FewShotDataset) -> tuple[FewShotDataset, ...]:
    """The data set of the training, followed by the others that are tested on."""
    others = (test.dataset for test in task.tests if test.dataset is not dataset)
    return (dataset, *{other.name: other for other in others}.values())


def _fingerprint(items: tuple[Item, ...], classnames: tuple[str, ...]) -> Json:
    return {"items": items_hash(items), "classnames": classnames_hash(classnames)}


def classnames_hash(classnames: tuple[str, ...]) -> str:
    """Hash of class names for an identity."""
    return sha256("\n".join(classnames).encode()).hexdigest()


def uses_training(method: AdaptedCLIP) -> bool:
    """Whether a method learns tensors or keeps anything of the training images."""
    return bool(method.learnt_parameters()) or bool(method.provides & {"prepare", "tune"})


def notes_of(run: Run, start: Start | None = None) -> tuple[str, ...]:
    """Notes on the data, the settings and the start for readers of the numbers."""
    config = run.config
    notes = list(run.dataset.notes)
    for test in run.task.tests:
        notes += [f"{test.name}: {note}" for note in test.dataset.notes if note not in run.dataset.notes]
        if len(test.classnames) == 1:
            notes.append(f"{test.name}: {test.classnames[0]!r} is the only class, so its accuracy is 100 % by form")
    if run.sees is not None:
        notes.append(f"{run.sees}: adapts to unlabelled test images, {SEEN[run.sees]}")
    if config.selection == "published":
        notes.append(
            "published: constants of this data set as the released code has them, which were chosen with its test "
            "images in sight as far as the code shows"
        )
    notes += notes_on_texts(config, run.task.classnames)
    if not run.uses_training:
        return tuple(notes)
    if config.selection == "oracle":
        notes.append("oracle: hyper-parameters were selected on the test images")
    elif config.selection == "validation_free":
        notes.append("validation-free: one recipe for all data sets, and no validation image was seen")
    for name, options in config.objective:
        notes += [f"{name}: {fact}" for fact in objective_class(name).facts(options)]
    if config.unlabelled == "all":
        notes.append(f"unlabelled: learnt from all {len(run.task.train)} training images, without their labels")
        if is_transductive(run.task):
            notes.append("transductive: images and names of classes that are tested on as new were learnt from")
    if config.draw == LISTED:
        notes.append("every seed learns from the same listed images")
    elif config.draw == LONG_TAILED:
        notes.append(
            f"long-tailed shots, from {config.shots} of one class down to 1, in an order of classes by the seed"
        )
    elif config.draw != PROTOCOL_DRAW:
        notes.append(f"few-shot draw of {config.draw}'s code, which has other images than CoOp's")
    if start is not None:
        notes.append(f"training started from {start}")
    if config.recipe == "paper":
        notes.append(f"recipe of the paper: configs/paper/{config.method}_{config.protocol}.yaml")
    return (*notes, *config.departures)
