"""The run matrix: the runs of a bench, their order, and which are finished."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch

from adaptkit import AdaptedCLIP, ClassSet, create_method, load_backbone
from adaptkit.backbone.devices import choose_device
from adaptkit.contract.creation import trained_by
from adaptkit.contract.objective import Trained
from datasets_fewshot import FeatureStore
from trainers.compute.freed_memory import keep_freed_memory
from trainers.compute.precision import choose_precision, choose_threads
from trainers.compute.seeds import seeded
from trainers.config.settings import BenchConfig, DataclassInstance, RunConfig, Wrap
from trainers.config.values import ConfigError
from trainers.feeding.encoder import ImageEncoder
from trainers.feeding.kept_pixels import KeptPixels
from trainers.protocols.registry import get_protocol
from trainers.protocols.task import Sources, Task
from trainers.runs.data import Bench
from trainers.runs.environment import weights_source
from trainers.runs.identity import Needs, Run, make_run, uses_training
from trainers.runs.name_lengths import shorten_names
from trainers.runs.records import RecordError, ResultRecord, read_record
from trainers.runs.sources import check_own, load_sources, make_task
from trainers.runs.start import check_start
from trainers.training.label_smoothing import why_not_smoothed
from trainers.training.replicas import why_single

# A method, its options, its wrappers and its objectives, and whether it takes steps and with smoothed labels.
Kind = tuple[str, DataclassInstance, Wrap, Wrap, bool, bool]

NOTHING_KNOWN: Mapping[Kind, Needs | str] = MappingProxyType({})
PROBE_CLASSES = ("cat", "dog")  # Class names beside the one of data that have only one.


@dataclass(frozen=True)
class Plan:
    """All runs of a bench, ordered by shared caches, and the records that exist already."""

    runs: tuple[Run, ...]
    finished: dict[str, ResultRecord]  # Records by run id.
    problems: tuple[str, ...]  # Unreadable records; their runs are computed again.
    left_out: dict[str, str]  # Methods that cannot take part -> the reason.
    fresh: bool = False  # True starts begun runs again, too.
    data_notes: tuple[str, ...] = ()  # Notes on own data.
    probed: Mapping[Kind, Needs | str] = field(default_factory=dict)  # What `probe` found, by what it was asked.

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the plan for the tables."""
        return tuple(f"{method} is left out: {reason}" for method, reason in self.left_out.items())

    @property
    def to_do(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.run_id not in self.finished)


def open_bench(config: BenchConfig, out: Path, cache: Path) -> Bench:
    """Load the backbone and open the store of encoded images.

    Raises:
        ValueError: if the backbone, its weights or the device are missing.
    """
    device = choose_device(config.settings.device)
    precision = choose_precision(config.settings.precision, device)
    named = config.backbone
    try:
        backbone = load_backbone(
            named.name, named.pretrained, named.checkpoint, device=device, image_size=named.image_size
        )
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(
            f"{device} has not enough memory for {named.name}; take a smaller backbone or a device that nothing else "
            f"is using ({str(error).splitlines()[0]})"
        ) from error
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    torch.set_num_threads(choose_threads(config.settings.threads, parameters))
    if device.type == "cpu":
        keep_freed_memory()
    pixels = KeptPixels()
    encoder = ImageEncoder(backbone, FeatureStore(cache), precision, config.data.workers, pixels)
    settings, data = config.settings, config.data
    source = weights_source(named)
    return Bench(
        backbone,
        encoder,
        precision,
        settings.suite,
        out,
        data.workers,
        source,
        config.checkpoint,
        pixels,
        processes=config.launch.processes,
    )


def plan(
    config: BenchConfig, bench: Bench, fresh: bool = False, known: Mapping[Kind, Needs | str] = NOTHING_KNOWN
) -> Plan:
    """Lay out the runs: identical runs are one, and runs with a record are finished unless `fresh`.

    Args:
        known: what another process has probed for the same plan.

    Raises:
        ConfigError: if a named method cannot take part in the protocol, or on this backbone.
    """
    loaded = load_sources(config)
    data_notes = check_own(config, loaded)
    sources = shorten_names(loaded, config, bench.backbone)
    names = _longest_names(sources, bench)
    probed = dict(known)
    runs: dict[str, Run] = {}
    left_out: dict[str, str] = {}
    tasks: dict[tuple[str, int, int], Task] = {}
    for settings in sorted(config.runs, key=lambda run: (config.settings.datasets.index(run.dataset), run.seed)):
        optim = settings.optim
        what = (settings.method, settings.options, settings.wrap, settings.objective)
        kind = (*what, optim.takes_steps, optim.label_smoothing > 0)
        if kind not in probed:
            probed[kind] = probe(settings, bench, names)
        needs = probed[kind]
        if isinstance(needs, str):
            if not config.every_method:
                raise ConfigError(f"{settings.method} cannot run in {settings.protocol}: {needs}")
            left_out[settings.method] = needs
            continue
        draw = (settings.dataset, settings.shots, settings.seed)
        if draw not in tasks:
            tasks[draw] = make_task(settings, sources)
        if needs.training and (start := bench.start_of(settings)) is not None:
            check_start(start, settings, tasks[draw].classnames)
        run = make_run(settings, sources.datasets[settings.dataset], tasks[draw], needs, bench)
        runs.setdefault(run.run_id, run)
    finished: dict[str, ResultRecord] = {}
    problems: list[str] = []
    for run in [] if fresh else runs.values():
        try:
            finished[run.run_id] = read_record(run.folder)
        except FileNotFoundError:
            continue
        except RecordError as error:
            problems.append(str(error))
    notes = tuple(dict.fromkeys(data_notes))
    return Plan(tuple(runs.values()), finished, tuple(problems), left_out, fresh, notes, probed)


def _longest_names(sources: Sources, bench: Bench) -> tuple[str, ...]:
    """The two class names with the most tokens; if they fit, all do."""
    datasets = [*sources.datasets.values(), *(data for others in sources.targets.values() for data in others.values())]
    names = {name: None for dataset in datasets for name in ClassSet(dataset.classnames).readable}
    probed = names if len(names) > 1 else (*names, *PROBE_CLASSES)
    by_length = sorted(probed, key=lambda name: len(bench.backbone.tokenizer.words(name)))
    return tuple(by_length[-2:])


def probe(settings: RunConfig, bench: Bench, names: tuple[str, ...]) -> Needs | str:
    """Training needs of the method, or the reason why it cannot take part.

    The method is tried on two classes, so that refusals come before any run.
    """
    try:
        with seeded(0, bench.backbone.device):
            method = create_method(settings.method, bench.backbone, names, settings.options, wrap=settings.wrap)
            if uses_training(method):
                trainee = trained_by(method, settings.objective)
                unused = _unsaid(settings, trainee) or _unused(settings, method, trainee, bench)
                if unused is not None:
                    return unused
    except ValueError as error:
        return str(error)
    if get_protocol(settings.protocol).new_names and method.bound_to_classes is not None:
        return f"it would be tested on names that it has not learnt, and {method.bound_to_classes}"
    if settings.selection == "oracle" and uses_training(method) and "tune" not in method.provides:
        return "it selects no hyper-parameters, so it has no oracle; leave --oracle out"
    if settings.unlabelled == "all" and uses_training(method) and method.learns_from_labels:
        return "it learns from labels, and UNLABELLED is 'all' for methods that do without; leave it out"
    if bench.processes > 1 and method.consumes == "images" and "backward" in method.provides:
        return "it makes its gradients itself, which processes cannot share; leave --processes out"
    if bench.processes > 1 and method.needs_whole_batches:
        return "it normalises over whole batches, which processes cannot share; leave --processes out"
    return Needs(uses_training(method), method.consumes, method.sees, _alone(settings, method, bench))


def _alone(settings: RunConfig, method: AdaptedCLIP, bench: Bench) -> str | None:
    """Why runs of a method do not learn side by side; None if they can."""
    if (reason := why_single(method)) is not None:
        return reason
    if not settings.optim.takes_steps:
        return f"{settings.method} takes no steps"
    if settings.objective:
        return f"{settings.method} is trained by an objective, which sees one training at a time"
    if bench.start_of(settings) is not None:
        return f"{settings.method} starts from an adapter"
    if bench.processes > 1:
        return "processes that train one run together do one after the other"
    return None


def _unsaid(settings: RunConfig, trainee: AdaptedCLIP) -> str | None:
    """Why an objective cannot be told class names of the tests, where it asks for them; None if it can."""
    asks = isinstance(trainee, Trained) and trainee.objective.wants_new_names
    if not asks or get_protocol(settings.protocol).new_names:
        return None
    return (
        f"its objective asks for names of classes that are tested and not learnt, and {settings.protocol} has none; "
        "take base_to_novel or cross_dataset, or an objective that asks for no names"
    )


def _unused(settings: RunConfig, method: AdaptedCLIP, trainee: AdaptedCLIP, bench: Bench) -> str | None:
    """Why smoothed labels or a start, where one is asked for, would not do what they say; None if they do.

    Args:
        trainee: the method as a trainer steps it, with the loss of its objectives.
    """
    smoothed = settings.optim.label_smoothing > 0
    asked = "OPTIM.LABEL_SMOOTHING" if smoothed else "a start from an adapter"
    if not smoothed and bench.start_of(settings) is None:
        return None
    if not method.learnt_parameters() or not settings.optim.takes_steps:
        return f"it takes no training steps, so {asked} would change nothing; leave it out"
    if method.prepares_again and not settings.wrap:
        return f"it is fitted to all training images at once, so {asked} would change nothing; leave it out"
    return why_not_smoothed(trainee) if smoothed else None
