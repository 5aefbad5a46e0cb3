"""Calibration: what held-out images say of a method's probabilities, as it is kept beside a saved method.

Of every held-out image it keeps the probability of the right class and the probability of all classes above it, from
which every score of `conformal` follows, so that sets of any coverage come from one file.
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import torch.nn.functional as F
from torch import Tensor

from adaptkit.calibration.calibration_error import expected_calibration_error
from adaptkit.calibration.conformal import mass_above, uniform_draws
from adaptkit.calibration.temperature import checked_logits, fit_temperature
from adaptkit.calibration.unknown import UnknownThreshold, choose_threshold, left_out_confidences
from adaptkit.classes.class_set import ClassSet

FORMAT = "adaptkit-calibration"
FORMAT_VERSION = 1
FEWEST_IMAGES = 5


@dataclass(frozen=True)
class Calibration:
    """A temperature and N held-out images for a method with C classes.

    Args:
        classnames: (C,) in the order of `labels`.
        prompts_sha256: `hash_of_prompts` of the classes.
        learnt_sha256: of the learnt tensors that it was fitted for; "" until they are known.
        labels: (N,) places of the right classes.
        own: (N,) probabilities of the right classes, at the temperature.
        above: (N,) probabilities of all classes that stand above the right one.
        u: (N,) `uniform_draws` of the images.
        source: where the images came from, in words.
        images: (N,) marks of their content, or empty where it is not known.
        ece: expected calibration error in percent, before and after, on the images that it was fitted on.
        nll: negative log-likelihood in nats, before and after.
        unknown: None where no class can be left out.
    """

    temperature: float
    classnames: tuple[str, ...]
    prompts_sha256: str
    learnt_sha256: str
    labels: tuple[int, ...]
    own: tuple[float, ...]
    above: tuple[float, ...]
    u: tuple[float, ...]
    source: str
    images: tuple[str, ...]
    ece: tuple[float, float]
    nll: tuple[float, float]
    unknown: UnknownThreshold | None = None

    def __post_init__(self) -> None:
        if not (0 < self.temperature < math.inf):
            raise ValueError(f"the temperature is {self.temperature}; expected a finite number above 0")
        counts = {len(self.labels), len(self.own), len(self.above), len(self.u)}
        if len(counts) != 1 or (self.images and len(self.images) != len(self.labels)):
            raise ValueError("labels, probabilities and images are not of the same number")
        if not all(0 <= label < len(self.classnames) for label in self.labels):
            raise ValueError(f"a label is none of the {len(self.classnames)} classes")
        # A sum of probabilities may exceed 1 by its rounding.
        if not all(0 <= value <= 1 + 1e-9 for value in (*self.own, *self.above, *self.u)):
            raise ValueError("a probability is not between 0 and 1")

    def __len__(self) -> int:
        return len(self.labels)

    def for_learnt(self, sha256: str) -> "Calibration":
        """The same for a method whose learnt tensors have this hash."""
        return replace(self, learnt_sha256=sha256)

    def places_in(self, classes: ClassSet) -> tuple[int, ...] | None:
        """The place of each of the C classes in other classes, which are these in any order; None if they are not."""
        if hash_of_prompts(classes) != self.prompts_sha256 or sorted(classes.classnames) != sorted(self.classnames):
            return None
        if classes.classnames == self.classnames:
            return tuple(range(len(self.classnames)))
        places = {name: place for place, name in enumerate(classes.classnames)}
        if len(places) < len(classes):  # names that two classes have do not say which is meant
            return None
        return tuple(places[name] for name in self.classnames)

    def to_json(self) -> str:
        """The content of a file."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> "Calibration":
        """What `to_json` wrote.

        Raises:
            ValueError: if it is no such file, damaged, or of a later version.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("it is no calibration of adaptkit")
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"format version is {version!r}, and this adaptkit reads {FORMAT_VERSION}")
        missing = {field.name for field in fields(Calibration)} - content.keys()
        if missing:
            raise ValueError(f"no entry {min(missing)!r}")
        return Calibration(
            temperature=_number(content["temperature"]),
            classnames=_texts(content["classnames"]),
            prompts_sha256=_text(content["prompts_sha256"]),
            learnt_sha256=_text(content["learnt_sha256"]),
            labels=tuple(_whole(label) for label in _list(content["labels"])),
            own=_numbers(content["own"]),
            above=_numbers(content["above"]),
            u=_numbers(content["u"]),
            source=_text(content["source"]),
            images=_texts(content["images"]),
            ece=_pair(content["ece"]),
            nll=_pair(content["nll"]),
            unknown=None if content["unknown"] is None else _unknown(content["unknown"]),
        )


def fit_calibration(
    logits: Tensor,
    labels: Tensor,
    classes: ClassSet,
    source: str,
    images: Sequence[str] = (),
    *,
    leave_classes_out: bool = False,
    most_false_rejections: float | None = None,
) -> Calibration:
    """Fit a calibration on held-out images, which the method must not have learnt from.

    Args:
        logits: (N, C), as the method gives them.
        labels: (N,).
        classes: C classes, in the order of the logits.
        source: where the images came from, in words.
        images: marks of the images' content, N of them or none.
        leave_classes_out: choose a threshold for unknown classes, for which the logit of a class must not depend on
            the other classes.
        most_false_rejections: see `choose_threshold`.

    Raises:
        ValueError: if there are less than two classes or five images, the logits are not finite, or a share of false
            rejections is given and the images show one class only.

    Example:
        ```python
        from adaptkit.calibration.calibration import fit_calibration

        labels = torch.arange(40) % 4
        logits = 9.0 * torch.nn.functional.one_hot(labels, 4) * torch.rand(40, 1) + torch.randn(40, 4)
        found = fit_calibration(logits, labels, adaptkit.ClassSet(("cat", "cow", "dog", "owl")), "seeded numbers")
        print(found.temperature, found.ece)
        ```
    """
    if len(classes) < 2:
        raise ValueError("there is one class only, so every probability is 1 and nothing can be calibrated")
    logits = checked_logits(logits.detach().cpu(), labels.cpu())
    labels = labels.cpu()
    if len(labels) < FEWEST_IMAGES:
        raise ValueError(
            f"{len(labels)} held-out images are too few to calibrate on; give {FEWEST_IMAGES} or more, better a hundred"
        )
    temperature = fit_temperature(logits, labels)
    probabilities, above = mass_above(logits, temperature)
    before, after = logits.softmax(dim=1), probabilities
    unknown = None
    seen = set(labels.tolist())
    if most_false_rejections is not None and len(seen) < 2:
        raise ValueError(
            "the held-out images show one class only, so no threshold for unknown classes can be chosen; give images "
            "of several classes, or leave the share of false rejections out"
        )
    if leave_classes_out and len(seen) >= 2:
        confidences = left_out_confidences(logits, labels, temperature)
        unknown = choose_threshold(*confidences, most_false_rejections)
    return Calibration(
        temperature=temperature,
        classnames=classes.classnames,
        prompts_sha256=hash_of_prompts(classes),
        learnt_sha256="",
        labels=tuple(labels.tolist()),
        own=tuple(probabilities.gather(1, labels[:, None]).squeeze(1).tolist()),
        above=tuple(above.gather(1, labels[:, None]).squeeze(1).tolist()),
        u=tuple(uniform_draws(logits).tolist()),
        source=source,
        images=tuple(images),
        ece=(_ece(before, labels), _ece(after, labels)),
        nll=(float(F.cross_entropy(logits, labels)), float(F.cross_entropy(logits / temperature, labels))),
        unknown=unknown,
    )


def hash_of_prompts(classes: ClassSet) -> str:
    """SHA-256 in hex of names, templates, sentences and spoken names; the order of the classes does not matter."""
    sentences = classes.sentences or ((),) * len(classes)
    rows: list[object] = [
        sorted([name, *own] for name, own in zip(classes.classnames, sentences, strict=True)),
        [] if classes.sentences else list(classes.templates),
    ]
    if classes.spoken is not None:
        rows.append(sorted(zip(classes.classnames, classes.spoken, strict=True)))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _ece(probabilities: Tensor, labels: Tensor) -> float:
    return 100 * float(expected_calibration_error(probabilities, labels))


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:40]!r} is no list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is no text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(one) for one in _list(value))


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return value


def _number(value: object) -> float:
    # Not by math.isfinite, which fails at whole numbers that are too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{str(value)[:40]!r} is no finite number")
    return float(value)


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(_number(one) for one in _list(value))


def _pair(value: object) -> tuple[float, float]:
    before, after = _numbers(value)
    return before, after


def _unknown(value: object) -> UnknownThreshold:
    if not isinstance(value, Mapping):
        raise ValueError(f"{str(value)[:40]!r} is no threshold")
    numbers = {name: _number(value.get(name)) for name in ("threshold", "auroc", "false_rejections", "caught")}
    if outside := [name for name, number in numbers.items() if not 0 <= number <= 1]:
        raise ValueError(f"the {outside[0]} of unknown classes is {numbers[outside[0]]}; expected a number from 0 to 1")
    return UnknownThreshold(**numbers, rule=_text(value.get("rule")))
