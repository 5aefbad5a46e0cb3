"""GIST (arXiv:2307.11315) on two embedded data sets whose files carry titles: the titles are the captions."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.layers.image_texts import pair_text, write_captions
from adaptkit.objectives import GISTConfig
from adaptkit.objectives.gist import bootstrap, encode_captions, fit_logistic_probe, in_top, match
from benchmarks.image_texts import SEEDS, TITLED, Draw, draw, learn, tuned_features
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.suite import Part, accuracy, backbone
from benchmarks.verdicts import beats, loses, sentence, verdict
from trainers.config.training import OptimConfig

RATES = (0.02, 0.2)  # of SGD; each arm takes the one whose probe is best on validation images
STRENGTHS = (1.0, 10.0)  # c of the probe, likewise
EPOCHS = 10
LORA_SET, LORA_OPTIM = (
    "openclipart",
    OptimConfig(name="adam", lr=1e-3, epochs=2, batch_size=32, warmup_epochs=0, weight_decay=0),
)
ARMS: Mapping[str, Mapping[str, object]] = {
    "name": {"choice": "name"},
    "any": {"choice": "any"},
    "matched": {"choice": "matched"},
}
SETTING = (
    "emoji_subgroups and openclipart, 16 shots, 3 seeds, clip_adapter tuned for 10 epochs of SGD; captions are the "
    "titles of the class's training images; rate and penalty of the probe by validation images"
)


Run = tuple[str, int]  # data set and seed


@dataclass(frozen=True)
class Outcome:
    """Accuracies in percent on test images, and on validation images."""

    probe: float
    val: float
    by_names: float  # by the class names
    by_captions: float  # by the mean of the class's captions
    right: Tensor  # (N,) whether the probe was right


Outcomes = Mapping[Run, Outcome]


def measure() -> list[Finding]:
    """Measure the claims."""
    runs = list(product(TITLED, SEEDS))
    with tempfile.TemporaryDirectory() as folder:
        frozen = {run: judge(draw(*run), lambda part: part.features) for run in runs}
        tried = {arm: _tried(partial(_run, Path(folder), options), runs) for arm, options in ARMS.items()}
        arms = {arm: _best(by_rate) for arm, by_rate in tried.items()}
        instance, by_class = (
            {run: _run(Path(folder), {"choice": "matched", "positives": kind}, RATES[-1], run, 128) for run in runs}
            for kind in ("instance", "class")
        )
        lora = [_lora(Path(folder), ARMS["matched"], seed) for seed in SEEDS]
    frozen_lora = [frozen[LORA_SET, seed].probe for seed in SEEDS]
    return [
        _over_frozen(frozen, arms["matched"], frozen_lora, lora),
        _matching_matters(arms, {arm: by_rate[RATES[-1]] for arm, by_rate in tried.items()}),
        _finds_its_own(runs),
        _class_positives(instance, by_class),
        _zero_shot(frozen, arms["matched"]),
    ]


def _over_frozen(frozen: Outcomes, matched: Outcomes, frozen_lora: Sequence[float], lora: Sequence[float]) -> Finding:
    gain = difference("gain of clip_adapter over the frozen features", _probes(matched), _probes(frozen))
    towers = difference("gain of clip_lora, both towers, openclipart alone, 24 steps", lora, frozen_lora)
    spread = bootstrap(matched[TITLED[0], SEEDS[0]].right)
    values = (
        over("probe on frozen features", _probes(frozen)),
        over("probe after tuning on matched captions", _probes(matched)),
        gain,
        towers,
        Value("one run by bootstrap of its test images", 100 * spread.mean, 100 * spread.std),
    )
    return Finding(
        "A linear probe on features tuned with image-specific texts beats one on frozen CLIP, by 4.1 points on average",
        "abstract",
        SETTING,
        values,
        verdict(beats(gain), beats(towers)),
        f"{sentence(gain, 'the adapter')} {sentence(towers, 'LoRA')}",
    )


def _matching_matters(arms: Mapping[str, Outcomes], moved: Mapping[str, Outcomes]) -> Finding:
    plain = difference("matched minus class prompts alone", _probes(arms["matched"]), _probes(arms["name"]))
    random = difference("matched minus any caption of the class", _probes(arms["matched"]), _probes(arms["any"]))
    values = [*(over(f"probe, {arm}", _probes(arms[arm])) for arm in ARMS), plain, random]
    values += [
        difference(f"matched minus {arm}, all at rate {RATES[-1]}", _probes(moved["matched"]), _probes(moved[arm]))
        for arm in ("name", "any")
    ]
    return Finding(
        "Texts that are chosen for each image are better to tune on than the class's prompts or any of its captions",
        "abstract",
        SETTING,
        tuple(values),
        verdict(beats(plain), beats(random)),
        f"{sentence(plain, 'matched against plain prompts')} {sentence(random, 'matched against any caption')}",
    )


def _finds_its_own(runs: Sequence[Run]) -> Finding:
    found = [_own_share(draw(*run)) for run in runs]
    hits, chances = [hit for hit, _ in found], [chance for _, chance in found]
    gain = difference("matching minus chance", hits, chances)
    return Finding(
        "The frozen model finds the caption of an image among those of its class",
        "ours",
        "the draws of the other rows; the right caption is the title of the image's own file",
        (over("own title found first", hits), over("by chance", chances), gain),
        verdict(beats(gain)),
        sentence(gain, "matching against chance"),
    )


def _class_positives(instance: Outcomes, by_class: Outcomes) -> Finding:
    gain = difference("class positives minus instance positives", _probes(by_class), _probes(instance))
    return Finding(
        "In large batches, pairs of one class should be positives of each other",
        "ours",
        f"as above, batches of 128, rate {RATES[-1]}",
        (over("probe, instance", _probes(instance)), over("probe, class", _probes(by_class)), gain),
        verdict(beats(gain)),
        sentence(gain, "class against instance positives"),
    )


def _zero_shot(frozen: Outcomes, matched: Outcomes) -> Finding:
    def column(outcomes: Outcomes, name: str) -> list[float]:
        return [getattr(outcome, name) for outcome in outcomes.values()]

    values = [
        difference(f"by {words}, tuned minus frozen", column(matched, name), column(frozen, name))
        for name, words in (("by_names", "class names"), ("by_captions", "the mean of captions"))
    ]
    first = over("by class names, frozen", column(frozen, "by_names"))
    return Finding(
        "The tuned features still answer zero-shot, at least as well as the frozen ones",
        "ours",
        SETTING,
        (first, *values),
        verdict(*(not loses(value) for value in values)),
        " ".join(sentence(value, value.what.partition(",")[0]) for value in values),
    )


def _tried(run: Callable[[float, Run], Outcome], runs: Sequence[Run]) -> dict[float, Outcomes]:
    """Outcomes of all data sets and seeds at every rate."""
    return {rate: {key: run(rate, key) for key in runs} for rate in RATES}


def _best(by_rate: Mapping[float, Outcomes]) -> dict[Run, Outcome]:
    """For each data set the outcomes at the rate that is best on its validation images."""
    chosen: dict[Run, Outcome] = {}
    for name in TITLED:
        own = [{key: outcome for key, outcome in rate.items() if key[0] == name} for rate in by_rate.values()]
        best = max(own, key=_val_sum)
        chosen |= best
    return chosen


def _val_sum(outcomes: Outcomes) -> float:
    return sum(outcome.val for outcome in outcomes.values())


def _run(folder: Path, options: Mapping[str, object], rate: float, run: Run, batch: int = 32) -> Outcome:
    drawn, optim = draw(*run), OptimConfig(lr=rate, epochs=EPOCHS, batch_size=batch, warmup_epochs=0, weight_decay=0)
    method = learn(drawn, run[1], [("gist", _config(folder, drawn, options))], optim)
    return judge(drawn, partial(tuned_features, method))


def _lora(folder: Path, options: Mapping[str, object], seed: int) -> float:
    drawn = draw(LORA_SET, seed)
    method = learn(drawn, seed, [("gist", _config(folder, drawn, options))], LORA_OPTIM, "clip_lora")
    return judge(drawn, partial(tuned_features, method)).probe


def _config(folder: Path, drawn: Draw, options: Mapping[str, object]) -> GISTConfig:
    if options["choice"] == "name":
        return GISTConfig(choice="name", positives="class")
    captions = str(write_captions(folder / "captions.json", drawn.captions))
    return GISTConfig(**{"positives": "class", "captions": captions, **options})  # type: ignore[arg-type]


@torch.no_grad()
def judge(drawn: Draw, features_of: Callable[[Part], Tensor]) -> Outcome:
    """Judge image features: by a probe whose penalty is chosen on validation images, and without one."""
    train, val, test = (features_of(part) for part in (drawn.train, drawn.val, drawn.suite.test))
    labels, classes = drawn.suite.test.labels, drawn.suite.classes
    fits = [fit_logistic_probe(train, drawn.train.labels, len(classes), c) for c in STRENGTHS]
    on_val = [accuracy(probe.logits(val), drawn.val.labels) for probe in fits]
    best = max(range(len(fits)), key=on_val.__getitem__)
    right = in_top(fits[best].logits(test), labels)
    by_names, by_captions = (accuracy(backbone().logits(test, weights), labels) for weights in _class_weights(drawn))
    return Outcome(100 * float(right.float().mean()), on_val[best], by_names, by_captions, right)


@cache
@torch.no_grad()
def _class_weights(drawn: Draw) -> tuple[Tensor, Tensor]:
    """Classifiers (C, D) of the class names, and of the mean of each class's captions behind its name."""
    classes = drawn.suite.classes
    named = zip(classes.readable, drawn.captions.values(), strict=True)
    said = [[pair_text(name, text) for text in own] for name, own in named]
    names, captions = (encode_captions(backbone(), texts) for texts in (classes.texts, said))
    return torch.cat(names), torch.stack([F.normalize(own, dim=-1).mean(dim=0) for own in captions])


def _own_share(drawn: Draw) -> tuple[float, float]:
    """Percent of training images whose best caption is their own title, and percent by chance."""
    captions = list(drawn.captions.values())
    matches = match(drawn.train.features, drawn.train.labels, encode_captions(backbone(), captions), 1)
    own = [captions[label] for label in drawn.train.labels.tolist()]
    hits = [
        texts[place] == title
        for texts, place, title in zip(own, matches.chosen[:, 0].tolist(), drawn.titles, strict=True)
    ]
    return 100 * sum(hits) / len(hits), 100 * sum(1 / len(texts) for texts in own) / len(own)


def _probes(outcomes: Outcomes) -> list[float]:
    return [outcome.probe for outcome in outcomes.values()]
