"""What can be set about a bench and its runs, as frozen dataclasses; `trainers.config` fills them."""

from dataclasses import Field, dataclass
from typing import ClassVar, Literal, Protocol

from trainers.optim import OptimConfig
from trainers.views import ViewConfig


class DataclassInstance(Protocol):
    """Any instance of a dataclass: the options of a method."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


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
    split: Literal["paper", "fallback"] = "paper"  # "fallback" builds a split where the papers' split file is missing
    draw: str = "coop"  # whose few-shot draw
    workers: int = 0  # processes that decode images; the results do not depend on it


@dataclass(frozen=True)
class BenchSettings:
    """What holds for a whole bench."""

    protocol: str = "base_to_novel"
    suite: str = "mini"
    methods: tuple[str, ...] = ("zero_shot", "coop")
    datasets: tuple[str, ...] = ()  # none: all of the suite
    device: str = "auto"  # "auto" takes the first CUDA device if there is one
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the towers; learnt tensors stay fp32; auto: bf16 on CUDA


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
    departures: tuple[str, ...] = ()  # where the suite, the user's file or the command line left the method's recipe


@dataclass(frozen=True)
class BenchConfig:
    """All runs of a bench and what they share."""

    settings: BenchSettings
    backbone: BackboneConfig
    data: DataConfig
    runs: tuple[RunConfig, ...]
