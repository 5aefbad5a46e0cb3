"""What can be set about a bench and its runs, as frozen dataclasses; `trainers.config.load` fills them."""

from dataclasses import Field, dataclass, field
from typing import ClassVar, Literal, Protocol

from adaptkit.options import option, options
from adaptkit.texts.class_texts import ClassTexts
from trainers.bounds import MOST_PROCESSES, MOST_REPLICAS, MOST_SEED
from trainers.config.training import OptimConfig, ViewConfig
from trainers.labels import WRAP_SIGN

EVERY_METHOD = "all"  # in METHODS: every method that can take part
USUAL_METHODS = "usual"  # in METHODS: those of them that do not take long
OWN_SUITE = "own"  # the suite of data sets that `DATA.OWN` names

Recipe = Literal["default", "paper"]
Selection = Literal["validation", "validation_free", "oracle", "published"]
Unlabelled = Literal["shots", "all"]


class DataclassInstance(Protocol):
    """Any instance of a dataclass: the options of a method or a wrapper."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


Wrap = tuple[
    tuple[str, DataclassInstance], ...
]  # Wrappers, or objectives, by name with their options, the outermost first.


@options
class BackboneConfig:
    """Which frozen CLIP: an open_clip name with a tag or a local file, or the embedded one."""

    name: str = option("adaptkit-mini", "An open_clip name, or adaptkit-mini for the embedded model.", filled=True)
    pretrained: str | None = option(None, 'The tag of open_clip\'s weights, such as "openai".', filled=True)
    checkpoint: str | None = option(None, "A local file of weights.", filled=True)
    image_size: int | None = option(None, "Side of the images in pixels, if not the model's own.", least=1, added=True)


@options
class DataConfig:
    """Where images come from and how shots are drawn."""

    root: str | None = option(
        None, "The folder that holds the papers' data sets; the embedded ones need none.", filled=True
    )
    split: str | None = option(
        None,
        'Null takes the split that the data come with, and "fallback" builds one where the papers\' split file is '
        "missing; else it is a split file, for own data or for one data set of the papers.",
        filled=True,
    )
    draw: str = option("coop", "Whose few-shot draw is taken.", filled=True)
    workers: int = option(
        0, "Processes that decode images; the results do not depend on it.", least=0, most=MOST_PROCESSES
    )
    own: tuple[str, ...] = option(
        (), 'Own data: folders, tables or shards, each of them a data set of the suite "own".', filled=True
    )
    classnames: str | None = option(None, "A file of names for the classes of own data.", filled=True)
    skip_bad: bool = option(False, "Leave unreadable images of own data out, and say so.")
    path_column: str | None = option(
        None, "The column of image paths in a table of own data; null looks for it.", filled=True
    )
    label_column: str | None = option(
        None, "The column of classes in a table of own data; null looks for it.", filled=True
    )
    encoding: str | None = option(
        None, "The encoding of a table of own data; null recognises UTF-8 and UTF-16.", filled=True
    )
    val_as_test: bool = option(False, "Test on the val part of own data that have no test part.")
    templates: tuple[str, ...] = option(
        (), "Sentences with one {} instead of the data sets' own templates.", filled=True
    )
    describe: str | None = option(
        None, "A file of what prompts say of the classes: names, descriptors and sentences.", filled=True
    )
    families: tuple[str, ...] = option(
        (), "Drawing families to learn from in domain_generalization on embedded data.", filled=True
    )


@options
class CheckpointConfig:
    """How often a training is written down, so that one that is killed goes on from there; the result is the same."""

    seconds: float = option(60.0, "Seconds between two checkpoints; 0 does not go by the clock.", least=0)
    steps: int = option(0, "Steps between two checkpoints; 0 does not go by steps.", least=0)


@options
class LaunchConfig:
    """Where runs are computed. Their results do not depend on it."""

    launcher: Literal["local", "ray", "slurm"] = option("local", "What starts the workers.")
    workers: int = option(
        0,
        "Workers that share the runs; 0 takes one per device on CUDA, and on CPU as many as its cores have room for, "
        "if the runs are many.",
        least=0,
        most=MOST_PROCESSES,
    )
    processes: int = option(
        1,
        "Processes that train one run together, each on its rows of every batch, for methods fed with images.",
        least=1,
        most=MOST_PROCESSES,
    )
    replicas: int = option(
        16,
        "Most runs that differ in their seed alone which a worker trains side by side, in one loop, where the method "
        "can; 1 trains every run on its own.",
        least=1,
        most=MOST_REPLICAS,
    )
    cpus: int = option(
        0, "CPUs of a worker on ray and slurm; 0 takes as many as it has threads.", least=0, most=MOST_PROCESSES
    )
    gpus: float = option(
        1.0, "GPUs of a worker on ray and slurm, where the runs are on CUDA; on ray it may be a share.", least=0
    )
    address: str = option(
        "",
        'The address of a Ray cluster; "auto" is the one this machine is part of, and empty is one of this machine '
        "alone.",
    )
    partition: str = option("", "The partition of Slurm; empty takes the cluster's default.")
    minutes: int = option(240, "Minutes that Slurm gives a worker; another then goes on.", least=1)
    cluster: Literal["slurm", "local"] = option(
        "slurm", 'Where the slurm launcher sends its workers; "local" tries it out on this machine.'
    )

    def __post_init__(self) -> None:
        if self.processes > 1 and (self.launcher != "local" or self.workers > 1):
            raise ValueError(
                f"processes={self.processes}; they do one run after another on this machine, so the launcher "
                f"has to be local (now {self.launcher}) and workers 1 (now {self.workers or 1})"
            )


@options
class BenchSettings:
    """What holds for a whole bench."""

    protocol: str = option("base_to_novel", "What is learnt from and what is tested on.", filled=True)
    suite: str = option("mini", "The suite of data sets: mini is embedded, paper needs DATA.ROOT.", filled=True)
    quick: bool = option(False, "Take a small part of the suite, as configs/quick has it, under what else is set.")
    methods: tuple[str, ...] = option(
        ("zero_shot", "coop"),
        'The methods; "all" is every one, and "usual" leaves out those that take long.',
        filled=True,
    )
    first: tuple[str, ...] = option(
        ("zero_shot", "coop", "kgcoop"),
        "Methods whose runs come first, on every data set, so that a table can soon be read.",
        filled=True,
    )
    wrap: tuple[str, ...] = option((), "Wrappers around every method, the outermost first.", filled=True)
    objective: tuple[str, ...] = option(
        (), "Objectives that trainings minimise, the outermost first; none is every method's own loss.", filled=True
    )
    datasets: tuple[str, ...] = option((), "Data sets that are learnt from; none means all of the suite.", filled=True)
    targets: tuple[str, ...] = option(
        (), "Where cross_dataset and domain_generalization test; none means the other data sets.", filled=True
    )
    recipe: Recipe = option(
        "default", 'The methods\' own settings; "paper" lays the settings of the published tables over them.'
    )
    selection: Selection = option(
        "validation",
        'Methods choose hyper-parameters on validation images; "validation_free" gives them none and one recipe for '
        'all data sets, "oracle" lets them use the test images, and "published" takes constants of single data sets '
        "as released code has them; records and tables say so.",
    )
    unlabelled: Unlabelled = option(
        "shots",
        'The images that methods without labels learn from: the shots that others have with labels; "all" is every '
        "training image of all classes, with the names of novel ones, and says so.",
    )
    device: str = option(
        "auto", 'The device of torch; "auto" takes the first CUDA device if there is one.', filled=True
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", 'The precision of the towers; learnt tensors stay fp32, and "auto" is bf16 on CUDA.'
    )
    threads: int = option(
        0,
        "Threads of the CPU; 0 takes one for a small backbone, and else as many as torch takes.",
        least=0,
        most=MOST_PROCESSES,
    )


@options
class RunSettings:
    """What a case may change besides the optimiser, the views and a method's options."""

    shots: tuple[int, ...] = option((16,), "Training images per class.", least=1)
    seeds: tuple[int, ...] = option(
        (1, 2, 3), "Seeds of the drawn images and of the training.", least=0, most=MOST_SEED
    )


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
    objective: Wrap = ()  # Objectives by name with their options, the outermost first; none is the method's own loss.
    draw: str = "coop"  # whose few-shot draw
    unlabelled: Unlabelled = "shots"  # what a method without labels learns from
    split_file: str = ""  # SHA-256 of the split file that the user gave for a data set of the papers
    texts: ClassTexts | None = None  # what a person says of the classes, beside the templates
    departures: tuple[str, ...] = ()  # where the suite, the user's file or the command line left the recipe

    @property
    def label(self) -> str:
        """The method with its wrappers and objectives, the outermost first: "coop+das"."""
        return WRAP_SIGN.join((self.method, *(name for name, _ in (*self.wrap, *self.objective))))


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
