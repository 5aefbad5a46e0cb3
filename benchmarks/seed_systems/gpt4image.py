"""GPT4Image (arXiv:2306.00693) on two embedded data sets whose files carry titles: the titles are the descriptions."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import create_objective
from adaptkit.objectives import GPT4Image, GPT4ImageConfig
from adaptkit.objectives.gist import fit_logistic_probe
from benchmarks.image_texts import SEEDS, TITLED, Draw, draw, learn, tuned_features
from benchmarks.seed_systems.findings import Finding, difference, over
from benchmarks.seed_systems.suite import accuracy, suite
from benchmarks.verdicts import beats, sentence, verdict
from trainers.config.training import OptimConfig

RATES = (0.002, 0.02, 0.2)  # of SGD; the one where the adapter without descriptions is best on validation images
EPOCHS = 10
PROBE_C = 10.0
SETTING = (
    "emoji_subgroups and openclipart, 16 shots, 3 seeds, clip_adapter for 10 epochs in batches of 32, where the text "
    "loss is byol, lambda 0.5; descriptions are the titles of the image files; every arm at the rate that is best "
    "without descriptions on validation images"
)
Run = tuple[str, int]
Describe = Callable[[Draw, torch.Generator], list[str]]


@dataclass(frozen=True)
class Outcome:
    """Accuracies in percent."""

    test: float  # of the method on test images of its classes
    val: float
    probe: float  # of a linear probe on its image features
    elsewhere: float  # of the method on the other data set, whose classes it has not learnt


Outcomes = Mapping[Run, Outcome]


def own(drawn: Draw, generator: torch.Generator) -> list[str]:
    """The title of each image."""
    return drawn.titles


def within(drawn: Draw, generator: torch.Generator) -> list[str]:
    """Titles of other images of the same class."""
    titles = list(drawn.titles)
    for label in drawn.train.labels.unique():
        rows = (drawn.train.labels == label).nonzero()[:, 0]
        for row, other in zip(
            rows.tolist(), rows[torch.randperm(len(rows), generator=generator)].tolist(), strict=True
        ):
            titles[row] = drawn.titles[other]
    return titles


def across(drawn: Draw, generator: torch.Generator) -> list[str]:
    """Titles of other images of any class."""
    return [drawn.titles[place] for place in torch.randperm(len(drawn.titles), generator=generator).tolist()]


def half_wrong(drawn: Draw, generator: torch.Generator) -> list[str]:
    """Titles, every second of which is of another image of any class."""
    return [wrong if row % 2 else drawn.titles[row] for row, wrong in enumerate(across(drawn, generator))]


def name(drawn: Draw, generator: torch.Generator) -> list[str]:
    """The class's prompt."""
    return [drawn.suite.classes.texts[label][0] for label in drawn.train.labels.tolist()]


ARMS: Mapping[str, tuple[Describe, Mapping[str, object]]] = {
    "own": (own, {}),
    "within": (within, {}),
    "across": (across, {}),
    "name": (name, {}),
    "lambda 0.1": (own, {"lam": 0.1}),
    "lambda 1": (own, {"lam": 1.0}),
    "clip": (own, {"kind": "clip"}),
    "half wrong, weighted": (half_wrong, {}),
    "half wrong, alike": (half_wrong, {"noise": "none"}),
}


def measure() -> list[Finding]:
    """Measure the claims."""
    runs = list(product(TITLED, SEEDS))
    with tempfile.TemporaryDirectory() as folder:
        bases = {rate: {run: _learn(run, [], rate) for run in runs} for rate in RATES}
        rates = {data: max(RATES, key=partial(_val_sum, bases, data)) for data in TITLED}
        base = {run: bases[rates[run[0]]][run] for run in runs}
        arms = {arm: {run: _run(Path(folder), arm, rates[run[0]], run) for run in runs} for arm in ARMS}
        weights = [_weights(Path(folder), run) for run in runs]
    return [
        _descriptions_help(base, arms),
        _images_matter(arms),
        _wrong_ones_do_not_help(base, arms),
        _noise_weights(arms, weights),
        _retention(base, arms),
    ]


def _descriptions_help(base: Outcomes, arms: Mapping[str, Outcomes]) -> Finding:
    gain = difference("gain in accuracy", _tests(arms["own"]), _tests(base))
    values = [over("accuracy without descriptions", _tests(base)), over("with descriptions", _tests(arms["own"])), gain]
    values.append(difference("gain in a linear probe", _of(arms["own"], "probe"), _of(base, "probe")))
    values += [
        difference(f"gain in accuracy, {arm}", _tests(arms[arm]), _tests(base))
        for arm in ("lambda 0.1", "lambda 1", "clip")
    ]
    return Finding(
        "Alignment with the embeddings of per-image descriptions makes image models more accurate",
        "abstract",
        SETTING,
        tuple(values),
        verdict(beats(gain)),
        sentence(gain, "with against without descriptions"),
    )


def _images_matter(arms: Mapping[str, Outcomes]) -> Finding:
    inside = difference("own minus shuffled within the class", _tests(arms["own"]), _tests(arms["within"]))
    names = difference("own minus the class name repeated", _tests(arms["own"]), _tests(arms["name"]))
    return Finding(
        "Descriptions of the image itself teach more than texts of its class do",
        "ours",
        SETTING,
        (*(over(f"accuracy, {arm}", _tests(arms[arm])) for arm in ("own", "within", "name")), inside, names),
        verdict(beats(inside), beats(names)),
        f"{sentence(inside, 'own against shuffled')} {sentence(names, 'own against the name')}",
    )


def _wrong_ones_do_not_help(base: Outcomes, arms: Mapping[str, Outcomes]) -> Finding:
    gain = difference("shuffled across classes minus none", _tests(arms["across"]), _tests(base))
    return Finding(
        "Descriptions of other classes hurt or do nothing, as a sanity check asks",
        "ours",
        SETTING,
        (over("accuracy, shuffled across classes", _tests(arms["across"])), gain),
        verdict(not beats(gain)),
        sentence(gain, "shuffled across classes against none"),
    )


def _noise_weights(arms: Mapping[str, Outcomes], weights: Sequence[tuple[float, float]]) -> Finding:
    weighted, alike = "half wrong, weighted", "half wrong, alike"
    gain = difference(
        "weighted minus alike, half of the descriptions wrong", _tests(arms[weighted]), _tests(arms[alike])
    )
    right, wrong = [first for first, _ in weights], [second for _, second in weights]
    told = difference("mean weight of right minus wrong ones", right, wrong, unit="")
    return Finding(
        "Weights by the cosine of the frozen image and the text let wrong descriptions count less, and that helps",
        "ours",
        SETTING,
        (over("mean weight of right descriptions", right, ""), over("of wrong ones", wrong, ""), told, gain),
        verdict(beats(told), beats(gain)),
        f"{sentence(told, 'weights of right against wrong ones')} {sentence(gain, 'weighted against alike')}",
    )


def _retention(base: Outcomes, arms: Mapping[str, Outcomes]) -> Finding:
    frozen = [_elsewhere_frozen(run[0]) for run in base]
    kept = difference(
        "with descriptions minus without, on the other data set", _of(arms["own"], "elsewhere"), _of(base, "elsewhere")
    )
    return Finding(
        "Descriptions keep more of the zero-shot accuracy on other classes",
        "ours",
        f"{SETTING}; tested with the class names of the other data set",
        (over("zero-shot, frozen", frozen), over("without descriptions", _of(base, "elsewhere")), kept),
        verdict(beats(kept)),
        sentence(kept, "with against without descriptions"),
    )


def _run(folder: Path, arm: str, rate: float, run: Run) -> Outcome:
    describe, options = ARMS[arm]
    path = _write(folder, draw(*run), describe(draw(*run), _generator(run)))
    return _learn(run, [("gpt4image", GPT4ImageConfig(descriptions=path, **options))], rate)  # type: ignore[arg-type]


def _learn(run: Run, objectives: Sequence[tuple[str, object]], rate: float) -> Outcome:
    drawn = draw(*run)
    optim = OptimConfig(lr=rate, epochs=EPOCHS, batch_size=32, warmup_epochs=0, weight_decay=0)
    method = learn(drawn, run[1], objectives, optim)
    test, other = drawn.suite.test, suite(_other(run[0])).test
    with torch.no_grad():
        features, tuned = tuned_features(method, drawn.train), tuned_features(method, test)
        on_test, on_val = (accuracy(method.logits(part.features), part.labels) for part in (test, drawn.val))
        method.set_classes(suite(_other(run[0])).classes)
        elsewhere = accuracy(method.logits(other.features), other.labels)
    probe = fit_logistic_probe(features, drawn.train.labels, len(drawn.suite.classes), PROBE_C)
    return Outcome(on_test, on_val, accuracy(probe.logits(tuned), test.labels), elsewhere)


@torch.no_grad()
def _weights(folder: Path, run: Run) -> tuple[float, float]:
    """Mean weights of right and of wrong descriptions, where every second one is wrong."""
    drawn = draw(*run)
    path = _write(folder, drawn, half_wrong(drawn, _generator(run)))
    method = learn(drawn, run[1], [], OptimConfig(epochs=0))
    objective = create_objective(method, [("gpt4image", GPT4ImageConfig(descriptions=path))])
    assert isinstance(objective, GPT4Image)
    objective.see_examples(method, drawn.examples)
    weights: Tensor = objective.weights[:, 0]
    return float(weights[::2].mean()), float(weights[1::2].mean())


@torch.no_grad()
def _elsewhere_frozen(data: str) -> float:
    other = suite(_other(data))
    method = learn(draw(data, SEEDS[0]), 0, [], OptimConfig(epochs=0), "zero_shot")
    method.set_classes(other.classes)
    return accuracy(method.logits(other.test.features), other.test.labels)


def _write(folder: Path, drawn: Draw, texts: Sequence[str]) -> str:
    path = folder / "descriptions.jsonl"
    pairs = zip(drawn.train.items, texts, strict=True)
    path.write_text("\n".join(json.dumps({"filename": item.path, "description": text}) for item, text in pairs))
    return str(path)


def _generator(run: Run) -> torch.Generator:
    return torch.Generator().manual_seed(run[1])


def _other(data: str) -> str:
    return TITLED[1 - TITLED.index(data)]


def _val_sum(bases: Mapping[float, Outcomes], data: str, rate: float) -> float:
    return sum(outcome.val for run, outcome in bases[rate].items() if run[0] == data)


def _of(outcomes: Outcomes, which: str) -> list[float]:
    return [getattr(outcome, which) for outcome in outcomes.values()]


def _tests(outcomes: Outcomes) -> list[float]:
    return _of(outcomes, "test")
