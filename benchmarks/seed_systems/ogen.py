"""OGEN (arXiv:2401.15914) around CoOp on three embedded data sets: known are the first half of the classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, Examples, create_method
from adaptkit.contract.creation import trained_by
from adaptkit.contract.objective import Trained
from adaptkit.objectives import OGENConfig
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.suite import accuracy, backbone, suite
from benchmarks.verdicts import beats, loses, sentence, verdict
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.training.few_shot import train

DATA = ("emoji_subgroups", "openclipart", "icons")
SEEDS = (1, 2, 3)
SHOTS, BATCH, EPOCHS, RATE = 16, 32, 20, 0.2  # the rate of CoOp on the embedded suite
PLAIN, OURS, CONTROL, FULL = "CoOp", "CoOp + OGEN", "a quarter of CoOp's loss", "CoOp's loss in full, + OGEN"
NO_LOSS = {"unknown_weight": 0.0, "known_weight": 0.0, "new_weight": 0.0, "teacher_weight": 0.0, "warmup": 0.0}
ARMS: Mapping[str, OGENConfig | None] = {
    PLAIN: None,
    OURS: OGENConfig(),
    "without the teacher": OGENConfig(teacher_weight=0.0),
    "uniform noise": OGENConfig(noise="uniform"),
    "names of the tests": OGENConfig(unknown_names="dataset_new"),
    CONTROL: OGENConfig(**NO_LOSS),  # type: ignore[arg-type]
    FULL: OGENConfig(own_weight=1.0),
}
SETTING = (
    f"{', '.join(DATA)}, {SHOTS} shots, {len(SEEDS)} seeds, {EPOCHS} epochs of SGD at {RATE}, the rate of CoOp on the "
    "embedded suite; known are the first half of the classes, unknown the second; unknown names in training are "
    "held-out known classes where it says nothing else"
)
SLIGHTLY = 1.0  # points
RUNS = tuple(product(DATA, SEEDS))
Run = tuple[str, int]


@dataclass(frozen=True)
class Outcome:
    """Test accuracies in percent, each half of the classes among its own names."""

    known: float
    unknown: float

    @property
    def both(self) -> float:
        """The harmonic mean."""
        return 2 * self.known * self.unknown / max(self.known + self.unknown, 1e-9)


Outcomes = Mapping[Run, Outcome]


def measure() -> list[Finding]:
    """Measure the claims."""
    zero = {run: _outcome(create_method("zero_shot", backbone(), _names(run[0])[0]), run[0]) for run in RUNS}
    arms = {arm: {run: _learnt(run, config) for run in RUNS} for arm, config in ARMS.items()}
    return [
        _forgets(zero, arms),
        _helps(arms),
        _keeps(arms),
        _teaches(arms),
        _is_no_small_step(arms),
        _names_help(arms),
    ]


def _forgets(zero: Outcomes, arms: Mapping[str, Outcomes]) -> Finding:
    lost = difference("unknown classes, CoOp minus zero-shot", _of(arms[PLAIN], "unknown"), _of(zero, "unknown"))
    return Finding(
        "Prompts that are trained on known classes lose accuracy on unknown ones",
        "abstract",
        SETTING,
        (over("unknown classes, zero-shot", _of(zero, "unknown")), *_values(PLAIN, arms[PLAIN]), lost),
        verdict(loses(lost)),
        sentence(lost, "CoOp against zero-shot"),
    )


def _helps(arms: Mapping[str, Outcomes]) -> Finding:
    gain, both = _gain("unknown", arms, OURS, PLAIN), _gain("both", arms, OURS, PLAIN)
    return Finding(
        "Features that are generated for unknown classes, with the teacher, raise accuracy on unknown classes",
        "abstract",
        SETTING,
        (*_values(PLAIN, arms[PLAIN]), *_values(OURS, arms[OURS]), gain, both),
        verdict(beats(gain), beats(both)),
        f"{sentence(gain, 'unknown classes')} {sentence(both, 'harmonic mean')}",
    )


def _keeps(arms: Mapping[str, Outcomes]) -> Finding:
    change, full = _gain("known", arms, OURS, PLAIN), _gain("known", arms, FULL, PLAIN)
    unknown = _gain("unknown", arms, FULL, PLAIN)
    return Finding(
        "Accuracy on known classes may fall slightly",
        "reviews of the paper",
        SETTING,
        (over("known classes, CoOp", _of(arms[PLAIN], "known")), change, full, unknown),
        "carries over" if change.value > -SLIGHTLY else "does not",
        f"{sentence(change, 'known classes')} Slightly is read as less than {SLIGHTLY:g} point. With CoOp's loss in "
        f"full: known {full.text}, unknown {unknown.text}.",
    )


def _teaches(arms: Mapping[str, Outcomes]) -> Finding:
    unknown, both = (_gain(half, arms, OURS, "without the teacher") for half in ("unknown", "both"))
    return Finding(
        "The teacher over a growing window adds to the generator",
        "reviews of the paper",
        f"{SETTING}; the teacher's loss is ours, as none was released",
        (*_values("without the teacher", arms["without the teacher"]), unknown, both),
        verdict(beats(unknown)),
        f"{sentence(unknown, 'unknown classes')} {sentence(both, 'harmonic mean')}",
    )


def _is_no_small_step(arms: Mapping[str, Outcomes]) -> Finding:
    unknown, both = (_gain(half, arms, OURS, CONTROL) for half in ("unknown", "both"))
    return Finding(
        "The gain comes from the generated features, not from the smaller weight of the method's own loss",
        "ours, as a control",
        SETTING,
        (*_values(CONTROL, arms[CONTROL]), unknown, both),
        verdict(beats(unknown)),
        f"{sentence(unknown, 'unknown classes')} {sentence(both, 'harmonic mean')}",
    )


def _names_help(arms: Mapping[str, Outcomes]) -> Finding:
    values: list[Value] = []
    for arm in ("names of the tests", "uniform noise"):
        values += [*_values(arm, arms[arm]), _gain("unknown", arms, arm, OURS)]
    told, noise = values[2], values[5]
    return Finding(
        "The released choices, names of the tests' classes and uniform noise, are better on unknown classes than "
        "held-out names and normal noise",
        "released code",
        SETTING,
        tuple(values),
        verdict(beats(told), beats(noise)),
        f"{sentence(told, 'names of the tests')} {sentence(noise, 'uniform noise')} Numbers with names of the tests "
        "are of classes that the training was told of.",
    )


def _of(outcomes: Outcomes, what: str) -> list[float]:
    return [getattr(outcomes[run], what) for run in RUNS]


def _values(arm: str, outcomes: Outcomes) -> tuple[Value, Value]:
    return over(f"known classes, {arm}", _of(outcomes, "known")), over(
        f"unknown classes, {arm}", _of(outcomes, "unknown")
    )


def _gain(half: str, arms: Mapping[str, Outcomes], arm: str, other: str) -> Value:
    what = {"both": "harmonic mean", "known": "known classes", "unknown": "unknown classes"}[half]
    return difference(f"{what}, {arm} minus {other}", _of(arms[arm], half), _of(arms[other], half))


# One run


def _names(data: str) -> tuple[ClassSet, ClassSet]:
    """The known and the unknown classes."""
    names = suite(data).classes.classnames
    middle = -(-len(names) // 2)  # as the papers halve an odd number
    return ClassSet(names[:middle]), ClassSet(names[middle:])


def _shots(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Places, features and labels of the training images of known classes."""
    part, known = suite(run[0]).train, len(_names(run[0])[0])
    places = part.shots(SHOTS, run[1])
    places = places[part.labels[places] < known]
    return places, part.features[places], part.labels[places]


def _learnt(run: Run, config: OGENConfig | None) -> Outcome:
    known, unknown = _names(run[0])
    torch.manual_seed(run[1])
    method = create_method("coop", backbone(), known, ctx_init="a photo of a")
    places, features, labels = _shots(run)
    trainee = trained_by(method, [] if config is None else [("ogen", config)])
    if isinstance(trainee, Trained):
        names = tuple(str(place) for place in places.tolist())
        trainee.see_examples(Examples(names, labels, features, unknown.classnames))
    batches = FeatureBatches(features[:, None], labels, ViewConfig("none"), BATCH, True, run[1])
    train(trainee, batches, OptimConfig(lr=RATE, epochs=EPOCHS))
    return _outcome(method.eval(), run[0])


@torch.no_grad()
def _outcome(method: AdaptedCLIP, data: str) -> Outcome:
    part, halves, found = suite(data).test, _names(data), []
    for start, classes in ((0, halves[0]), (len(halves[0]), halves[1])):
        rows = (part.labels >= start) & (part.labels < start + len(classes))
        method.set_classes(classes)
        found.append(accuracy(method.logits(part.features[rows]), part.labels[rows] - start))
    return Outcome(*found)
