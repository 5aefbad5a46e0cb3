"""A new model in the gallery of an old one: on the embedded pairs with a second CLIP, and on planted spaces."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from adaptkit import FrozenCLIP
from adaptkit.features.xbt import Compat, Space, perturbed, procrustes, start_projection, text_loss
from benchmarks.planted_spaces import planted
from benchmarks.second_clip import NOISE, older
from benchmarks.seed_systems.findings import Finding, Value, Verdict, difference, over
from benchmarks.seed_systems.suite import accuracy, backbone, suite
from datasets_fewshot.pairs.load import load_pairs
from trainers.config.settings import CheckpointConfig
from trainers.evaluation.upgrade import OLD_NEW, OLD_OLD, WAYS, Rows, UpgradeReport, upgrade_report
from trainers.feeding.kept_pixels import KeptPixels
from trainers.fit.epochs import trained_epochs
from trainers.pairs.judging import Looking
from trainers.pairs.upgrade.baselines import baseline_ways
from trainers.pairs.upgrade.encoded import Encoded, KeptFeatures
from trainers.pairs.upgrade.main import UpgradeData
from trainers.pairs.upgrade.settings import XBTConfig
from trainers.pairs.upgrade.stages import Fitted, Work, fit_pairs, fit_texts, mapped_rows

SEEDS = (1, 2, 3)
PARTS = ("train", "val", "test")
LORA_EPOCHS = 2  # of the paper's five, for time
STAGE_1, WITHOUT_NOISE, HEAD, LORA, UNTRAINED = (
    "stage 1",
    "stage 1 without noise",
    "stage 2, head of images",
    "stage 2, LoRA",
    "start, Procrustes on the same texts",
)
PROCRUSTES, SLERP = "Procrustes, texts", "SLERP with Procrustes, texts"
GRID = (0.0, 0.5, 1.0, 2.0)  # of noise, in units of 1 / sqrt(d_n)
PLANTED_EPOCHS, PLANTED_BATCH = 25, 128
WORDS = {"text_to_image": "text to image", "image_to_text": "image to text"}


@dataclass(frozen=True)
class Run:
    """One old model with everything that searches its gallery."""

    report: UpgradeReport
    moved: float  # largest difference of the new model's own features, before and after all trainings
    class_accuracy: dict[str, float]  # of images of icons among class texts: old alone, new by the upgrade, new alone


def measure() -> list[Finding]:
    with TemporaryDirectory() as folder:
        runs = [_run(seed, Path(folder)) for seed in SEEDS]
    return [
        _compatible_finding(runs),
        _stage_2_finding(runs),
        _own_space_finding(runs),
        _baseline_finding(runs),
        _backfill_finding(runs),
        _class_finding(runs),
        _noise_finding(runs),
        _planted_finding(),
    ]


def _run(seed: int, folder: Path) -> Run:
    """Fit and judge with one old model; nothing is chosen, but the epoch of stage 2, on validation pairs."""
    pairs, looking, before = load_pairs("mini_pairs"), Looking("fp32", 0, KeptPixels()), _native()
    old, new = older(backbone(), seed), backbone()
    olds, news = (Encoded(model, pairs, looking, KeptFeatures(folder)) for model in (old, new))
    texts, space = UpgradeData(pairs).texts, Space.of(old)
    old_texts, new_texts = olds.texts(texts), news.texts(texts)
    config, work = XBTConfig(seed=seed), Work(None, CheckpointConfig(), lambda message: None)
    first = fit_texts(news, new_texts, old_texts, 1.0, config, work)
    fitted: dict[str, Fitted] = {
        UNTRAINED: fit_texts(news, new_texts, old_texts, 1.0, replace(config, epochs=0), work),
        STAGE_1: first,
        WITHOUT_NOISE: fit_texts(news, new_texts, old_texts, 0.0, config, work),
        HEAD: fit_pairs(news, space, first, olds.rows("val"), config, work),
        LORA: fit_pairs(
            news, space, first, olds.rows("val"), replace(config, stage2="lora", pair_epochs=LORA_EPOCHS), work
        ),
    }
    old_rows, new_rows = ({part: one.rows(part) for part in PARTS} for one in (olds, news))  # type: ignore[arg-type]
    ways, _ = baseline_ways(old_rows, new_rows, olds.captions("val").image)
    for name, one in fitted.items():
        ways[name] = mapped_rows(one.compat(space, news), news, "test", new_rows["test"])
    report = upgrade_report(old_rows["test"], new_rows["test"], ways, olds.captions("test").image, HEAD, seed)
    moved = float((_native() - before).abs().max())
    return Run(report, moved, _class_accuracy(old, fitted[HEAD].compat(space, news)))


@torch.no_grad()
def _class_accuracy(old: FrozenCLIP, compat: Compat) -> dict[str, float]:
    """Accuracy on icons: a bank of class texts by the old model, images by the old model or through the upgrade."""
    data = suite("icons")
    texts = [text for own in data.classes.texts for text in own]
    bank, images = old.encode_text(texts), data.test.images()
    logits = {
        "old images, old bank": old.logits(old.encode_image(images), bank),
        "new images by the upgrade, old bank": old.logits(compat.map_images(data.test.features), bank),
        "new images, new bank": backbone().logits(data.test.features, backbone().encode_text(texts)),
    }
    return {name: accuracy(one, data.test.labels) for name, one in logits.items()}


def _recalls(runs: Sequence[Run], name: str, way: str) -> list[float]:
    """Recall@1 over the runs, of a pair of models or of a way across."""
    found = []
    for run in runs:
        scores = run.report.plain[name] if name in run.report.plain else run.report.ways[name].scores
        found.append(getattr(scores, way).recall[1])
    return found


def _both(runs: Sequence[Run], name: str) -> list[float]:
    """Mean of recall@1 in both directions."""
    return [statistics.fmean(pair) for pair in zip(*(_recalls(runs, name, way) for way in WAYS), strict=True)]


def _values(runs: Sequence[Run], names: Sequence[str]) -> list[Value]:
    return [over(f"{name}, {WORDS[way]}", _recalls(runs, name, way)) for name in names for way in WAYS]


def _gains(runs: Sequence[Run], name: str) -> list[Value]:
    return [
        over(f"update gain of {name}, {WORDS[way]}", [run.report.ways[name].gain[way][1] or 0.0 for run in runs], "")
        for way in WAYS
    ]


def _compatible(runs: Sequence[Run], name: str) -> int:
    return sum(run.report.ways[name].compatible for run in runs)


def _beyond(value: Value) -> bool:
    return value.error is not None and value.value > 2 * value.error


def _share(passed: Sequence[bool]) -> Verdict:
    return "carries over" if all(passed) else "in part" if any(passed) else "does not"


SETTING = (
    f"mini_pairs, test part, recall@1; new: the embedded model; old: the same with noise of {NOISE:g} standard "
    f"deviations on its weights and a turned space (benchmarks/second_clip.py), {len(SEEDS)} of them"
)


def _compatible_finding(runs: Sequence[Run]) -> Finding:
    names = (STAGE_1, HEAD, LORA)
    over_old = [
        difference(f"{name} minus old/old, {WORDS[way]}", _recalls(runs, name, way), _recalls(runs, OLD_OLD, way))
        for name in names
        for way in WAYS
    ]
    counts = ", ".join(f"{name} with {_compatible(runs, name)}" for name in names)
    return Finding(
        "A new model finds more in the gallery of the old one than the old one does, without encoding it again",
        "abstract",
        f"{SETTING}; LoRA for {LORA_EPOCHS} epochs",
        (
            *_values(runs, (OLD_OLD, OLD_NEW, *names, "new/new")),
            *over_old,
            *(value for name in names for value in _gains(runs, name)),
        ),
        _share([*map(_beyond, over_old)]),
        f"Of {len(runs)} old models, better both ways: {counts}. Without a map (old/new) nothing is found.",
    )


def _stage_2_finding(runs: Sequence[Run]) -> Finding:
    gains = [
        difference(f"{name} minus stage 1, {WORDS[way]}", _recalls(runs, name, way), _recalls(runs, STAGE_1, way))
        for name in (HEAD, LORA)
        for way in WAYS
    ]
    return Finding(
        "Training on pairs, without the old model, adds to what texts alone teach",
        "abstract",
        f"{SETTING}; {LORA_EPOCHS} epochs with LoRA, 5 with the head, which moves images alone",
        tuple(gains),
        _share([_beyond(gain) for gain, way in zip(gains, WAYS * 2, strict=True) if way == "image_to_text"]),
        "The verdict is on images as queries: the head leaves texts as they are, and LoRA moves both towers.",
    )


def _own_space_finding(runs: Sequence[Run]) -> Finding:
    largest = max(run.moved for run in runs)
    return Finding(
        "The new model's own weights and space stay as they were",
        "abstract",
        "features of icons and of their names by the new model, before and after all trainings with LoRA and the head",
        (Value("largest difference of a coordinate, over all trainings", largest, None, ""),),
        "carries over" if largest == 0 else "does not",
        "Updates stand beside the weights, and the plain model runs without them.",
    )


@torch.no_grad()
def _native() -> torch.Tensor:
    """Features of some icons and of their names by the new model as it is, one after the other."""
    data = suite("icons")
    texts = [text for own in data.classes.texts for text in own]
    return torch.cat([backbone().encode_image(data.test.images()), backbone().encode_text(texts)])


def _baseline_finding(runs: Sequence[Run]) -> Finding:
    names = [name for name in runs[0].report.ways if name not in (STAGE_1, WITHOUT_NOISE, HEAD, LORA, UNTRAINED)]
    best = {name: statistics.fmean(_both(runs, name)) for name in (HEAD, LORA)}
    trained = max(best, key=lambda name: best[name])
    ahead = difference(
        f"{trained} minus {PROCRUSTES}, mean of both ways", _both(runs, trained), _both(runs, PROCRUSTES)
    )
    slerp = difference(f"{SLERP} minus {PROCRUSTES}, mean of both ways", _both(runs, SLERP), _both(runs, PROCRUSTES))
    over_old = [
        difference(
            f"{PROCRUSTES} minus old/old, {WORDS[way]}", _recalls(runs, PROCRUSTES, way), _recalls(runs, OLD_OLD, way)
        )
        for way in WAYS
    ]
    counts = ", ".join(f"{name}: {_compatible(runs, name)}" for name in names)
    return Finding(
        "Training is needed: maps that are fitted without it fall behind",
        "ours",
        f"{SETTING}; maps fitted on the training pairs, SLERP's weight chosen on the validation pairs",
        (*_values(runs, [UNTRAINED, *names]), ahead, slerp, *over_old),
        "carries over" if _beyond(ahead) else "does not",
        f"Old models with which a way is better both ways, of {len(runs)}: {counts}. The old model here is a disturbed "
        "copy of the new one, which an orthogonal map suits well.",
    )


def _backfill_finding(runs: Sequence[Run]) -> Finding:
    shares = list(runs[0].report.backfill)
    by_share = {
        share: [statistics.fmean(getattr(run.report.backfill[share], way).recall[1] for way in WAYS) for run in runs]
        for share in shares
    }
    steps = [
        difference(f"{100 * high:g} % minus {100 * low:g} % encoded again", by_share[high], by_share[low])
        for low, high in pairwise(shares)
    ]
    return Finding(
        "A gallery that is encoded again little by little gets better with every part",
        "ours",
        f"{SETTING}; {HEAD}; mean of both directions",
        (*(over(f"{100 * share:g} % encoded again", by_share[share]) for share in shares), *steps),
        _share([step.value >= 0 for step in steps]),
        "A part of a gallery in another cone than the rest is nearer or farther as a whole, whatever it shows.",
    )


def _class_finding(runs: Sequence[Run]) -> Finding:
    old, across, new = runs[0].class_accuracy
    ahead = difference(
        "upgrade minus old alone",
        [run.class_accuracy[across] for run in runs],
        [run.class_accuracy[old] for run in runs],
    )
    return Finding(
        "A bank of class texts by the old model classifies images of the new one better than those of the old one",
        "ours",
        f"icons, test images, class names in the default template; {len(SEEDS)} old models, {HEAD}",
        (*(over(name, [run.class_accuracy[name] for run in runs]) for name in (old, across, new)), ahead),
        "carries over" if _beyond(ahead) else "does not",
        "The bank is never encoded again.",
    )


def _noise_finding(runs: Sequence[Run]) -> Finding:
    gains = [
        difference(
            f"with minus without noise, {WORDS[way]}", _recalls(runs, STAGE_1, way), _recalls(runs, WITHOUT_NOISE, way)
        )
        for way in WAYS
    ]
    lost = difference(
        "stage 1 minus its start, image to text",
        _recalls(runs, STAGE_1, "image_to_text"),
        _recalls(runs, UNTRAINED, "image_to_text"),
    )
    return Finding(
        "Noise on texts makes a map that has seen texts alone work on images",
        "summary in a later paper",
        f"{SETTING}; stage 1, noise up to 1 / sqrt(d_n)",
        (*_values(runs, (WITHOUT_NOISE, STAGE_1, UNTRAINED)), *gains, lost),
        "carries over" if _beyond(gains[1]) else "does not",
        "The verdict is on images as queries. Against its own start, Procrustes, stage 1 changes them as the last "
        "number says.",
    )


@cache
def _planted_errors(seed: int) -> dict[str, float]:
    """Mean squared distance of held-out images, mapped, from the texts of the same things in the old space."""
    train, test = planted(seed)

    def error(mapped: torch.Tensor) -> float:
        return float((mapped - test.old.texts).square().sum(dim=-1).mean())

    errors = {"Procrustes": error(test.new.images @ procrustes(train.new.texts, train.old.texts))}
    for noise in GRID:
        phi = start_projection(train.new.texts, train.old.texts, seed=seed)
        optimizer = torch.optim.AdamW(phi.parameters(), lr=1e-3, weight_decay=1e-4)
        generator = torch.Generator().manual_seed(seed)
        sigma_max = noise * train.new.width**-0.5
        loss: Callable[[torch.Tensor], torch.Tensor] = partial(_planted_loss, phi, train.new, train.old, sigma_max)
        torch.manual_seed(seed)
        list(trained_epochs(optimizer, len(train.new.texts), PLANTED_BATCH, PLANTED_EPOCHS, generator, loss))
        with torch.no_grad():
            errors[f"noise {noise:g}"] = error(phi.project(test.new.images))
    return errors


def _planted_loss(phi: torch.nn.Module, new: Rows, old: Rows, sigma_max: float, places: torch.Tensor) -> torch.Tensor:
    return text_loss(phi.project(perturbed(new.texts[places], sigma_max)), old.texts[places])  # type: ignore[operator]


def _planted_finding() -> Finding:
    errors = [_planted_errors(seed) for seed in SEEDS]
    names = list(errors[0])
    by_name = {name: [one[name] for one in errors] for name in names}
    less = difference("noise 0 minus noise 1", by_name["noise 0"], by_name["noise 1"], "")
    linear = difference("Procrustes minus noise 1", by_name["Procrustes"], by_name["noise 1"], "")
    return Finding(
        "On a planted gap, noise lowers the error of images that the map never saw",
        "ours",
        "1,000 texts, 400 held-out images; image = text + constant offset + noise, the old space not linear in the new "
        f"one (benchmarks/planted_spaces.py); {len(SEEDS)} seeds; squared distance to the right text in the old space",
        (*(over(name, by_name[name], "") for name in names), less, linear),
        "carries over" if _beyond(less) else "does not",
        "Noise is in units of 1 / sqrt(d_n); the default is 1.",
    )
