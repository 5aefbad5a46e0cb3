"""What can be set about a bench and its runs, as frozen dataclasses; `trainers.config.load` fills them."""

from dataclasses import Field, dataclass, field
from typing import ClassVar, Literal, Protocol

from trainers.feeding.views import ViewConfig
from trainers.runs.records import WRAP_SIGN
from trainers.training.optim import OptimConfig

EVERY_METHOD = "all"  # in METHODS: every method that can take part
OWN_SUITE = "own"  # the suite of data sets that `DATA.OWN` names

Recipe = Literal["default", "paper"]
Selection = Literal["validation", "oracle"]


class DataclassInstance(Protocol):
    """Any instance of a dataclass: the options of a method or a wrapper."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


Wrap = tuple[tuple[str, DataclassInstance], ...]  # wrappers by name with their options, the outermost first


@dataclass(frozen=True)
class BackboneConfig:
    """Which frozen CLIP: an open_clip name with a tag or a local file, or the embedded one."""

    name: str = "adaptkit-mini"
    pretrained: str | None = None  # open_clip's tag, such as "openai"
    checkpoint: str | None = None  # a local file of weights


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and how shots are drawn."""

    root: str | None = None  # the folder that holds the papers' data sets; the embedded ones need none
    # None takes the split that the data come with; "fallback" builds one where the papers' split file is missing; for
    # own data it is a split file.
    split: str | None = None
    draw: str = "coop"  # whose few-shot draw
    workers: int = 0  # processes that decode images; the results do not depend on it
    own: tuple[str, ...] = ()  # own data: folders, tables or shards, each a data set of the suite "own"
    classnames: str | None = None  # a file of names for the classes of own data
    skip_bad: bool = False  # leave unreadable images of own data out, and say so
    templates: tuple[str, ...] = ()  # sentences with one {} instead of the data sets' own templates
    families: tuple[str, ...] = ()  # drawing families to learn from in domain_generalization on embedded data


@dataclass(frozen=True)
class CheckpointConfig:
    """How often a training is written down, so that one that is killed goes on from there; the result is the same."""

    seconds: float = 60.0  # between two checkpoints; 0: not by the clock
    steps: int = 0  # between two checkpoints; 0: not by steps

    def __post_init__(self) -> None:
        for name in ("seconds", "steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"checkpoint.{name} is {getattr(self, name)}; expected 0 (off) or more")


@dataclass(frozen=True)
class LaunchConfig:
    """Where runs are computed. Their results do not depend on it."""

    launcher: Literal["local", "ray", "slurm"] = "local"
    # That share the runs; 0: on CUDA one per device; on CPU as many as its cores have room for, if the runs are many.
    workers: int = 0
    processes: int = 1  # that train one run together, each on its rows of every batch; for methods fed with images
    cpus: int = 0  # of a worker on ray and slurm; 0: as many as it has threads
    gpus: float = 1.0  # of a worker on ray and slurm, where the runs are on CUDA; on ray it may be a share
    address: str = ""  # of a Ray cluster; "auto": the one this machine is part of; empty: one of this machine alone
    partition: str = ""  # of Slurm; empty: the cluster's default
    minutes: int = 240  # that Slurm gives a worker; another then goes on
    cluster: Literal["slurm", "local"] = "slurm"  # "local" tries the slurm launcher out on this machine

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("processes", 1), ("cpus", 0), ("gpus", 0), ("minutes", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(f"launch.{name} is {getattr(self, name)}; expected at least {least}")
        if self.processes > 1 and (self.launcher != "local" or self.workers > 1):
            raise ValueError(
                f"launch.processes is {self.processes}: they do one run after another on this machine, so the launcher "
                f"has to be local (now {self.launcher}) and workers 1 (now {self.workers or 1})"
            )


@dataclass(frozen=True)
class BenchSettings:
    """What holds for a whole bench."""

    protocol: str = "base_to_novel"
    suite: str = "mini"
    methods: tuple[str, ...] = ("zero_shot", "coop")
    wrap: tuple[str, ...] = ()  # wrappers around every method, the outermost first
    datasets: tuple[str, ...] = ()  # that are learnt from; none: all of the suite
    targets: tuple[str, ...] = ()  # where cross_dataset and domain_generalization test; none: the other data sets
    recipe: Recipe = "default"  # "paper" lays the settings of the published tables over the methods' own
    selection: Selection = "validation"  # "oracle" lets methods choose hyper-parameters on the test images, and says so
    device: str = "auto"  # "auto" takes the first CUDA device if there is one
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the towers; learnt tensors stay fp32; auto: bf16 on CUDA
    threads: int = 0  # of the CPU; 0: one for a small backbone, else as many as torch takes

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ValueError(f"threads is {self.threads}; expected 0 (chosen by the backbone's size) or more")


@dataclass(frozen=True)
class RunSettings:
    """What a case may change besides the optimiser, the views and a method's options."""

    shots: tuple[int, ...] = (16,)  # training images per class
    seeds: tuple[int, ...] = (1, 2, 3)


@dataclass(frozen=True)
class RunConfig:
    """One training and its tests, in settings; the data set's own items are not in here."""

    protocol: str
    dataset: str
    method: str
    options: DataclassInstance
    shots: int
    seed: int
    optim: OptimConfig
    views: ViewConfig
    templates: tuple[str, ...]  # of the prompts, in training and in every test
    recipe: Recipe
    selection: Selection
    wrap: Wrap = ()
    draw: str = "coop"  # whose few-shot draw
    departures: tuple[str, ...] = ()  # where the suite, the user's file or the command line left the recipe

    @property
    def label(self) -> str:
        """The method with its wrappers, the outermost first: "coop+das"."""
        return WRAP_SIGN.join((self.method, *(name for name, _ in self.wrap)))


@dataclass(frozen=True)
class BenchConfig:
    """All runs of a bench and what they share."""

    settings: BenchSettings
    backbone: BackboneConfig
    data: DataConfig
    runs: tuple[RunConfig, ...]
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    every_method: bool = False  # methods that cannot take part are left out, not refused
