"""What an adapter's own files say of it, read without torch: the method, its classes and its calibration."""

from collections.abc import Mapping
from dataclasses import dataclass

from trainers.labels import WRAP_SIGN
from trainers.report.decision.plain import made_of

CALIBRATION_FORMAT = "adaptkit-calibration"


@dataclass(frozen=True)
class Part:
    """A method or wrapper with its options."""

    name: str
    options: Mapping[str, object]


@dataclass(frozen=True)
class Adapter:
    """The entries of adapter_config.json that a page shows."""

    method: Part
    wrappers: tuple[Part, ...]
    classnames: tuple[str, ...]

    @property
    def label(self) -> str:
        """The method with its wrappers, the outermost first: "coop+das"."""
        return WRAP_SIGN.join([self.method.name, *(one.name for one in self.wrappers)])


@dataclass(frozen=True)
class UnknownFacts:
    """The threshold for unknown classes, and what it does on classes that were left out; shares from 0 to 1."""

    threshold: float
    auroc: float
    false_rejections: float
    caught: float
    rule: str


@dataclass(frozen=True)
class CalibrationFacts:
    """The entries of calibration.json that a page shows; `ece` is in percent of the held-out images."""

    temperature: float
    source: str
    labels: tuple[int, ...]  # of the held-out images
    ece: tuple[float, float]
    unknown: UnknownFacts | None


def calibration_of(content: object) -> CalibrationFacts:
    """The content of calibration.json.

    Raises:
        ValueError: if it is something else.
    """
    if not isinstance(content, Mapping) or content.get("format") != CALIBRATION_FORMAT:
        raise ValueError("it is no calibration of adaptkit")
    return made_of(CalibrationFacts, content)


def adapter_of(content: object) -> Adapter:
    """The content of adapter_config.json.

    Raises:
        ValueError: if it is something else.
    """
    return made_of(Adapter, content)
