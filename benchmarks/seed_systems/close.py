"""CLOSE (arXiv:2211.09778) on embedded data: heads that have read texts alone, tested on images."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import create_head, create_method
from adaptkit.heads import Close, ClosePairs, CloseTagger
from adaptkit.heads.close.gap import SIGMAS, TransferGap, gap_report, matched_sigma, transfer_gap
from adaptkit.heads.close.training_texts import caption_tags, class_texts
from adaptkit.texts.cased.index import encode
from adaptkit.texts.classify_by_description.config import EMBEDDED
from adaptkit.texts.descriptions import read_descriptions
from benchmarks.image_texts import title
from benchmarks.seed_systems.findings import Finding, difference, over
from benchmarks.seed_systems.suite import ALL, Part, accuracy, backbone, suite, validation
from benchmarks.verdicts import beats, loses, sentence, verdict
from trainers.evaluation.tagging import average_precisions
from trainers.fit.texts import TextTraining, train_on_texts

SEEDS = (1, 2)
SHOTS, FEW = 16, 4
TEMPLATES = ("a photo of a {}.", "a drawing of a {}.", "an icon of a {}.", "a picture of a {}.", "{}")
HELD_OUT = ("a sketch of a {}.", "a small {}.")  # for the accuracy on texts
SETTINGS = TextTraining(epochs=100, lr=1e-2)  # there are few texts, so an epoch is a step or a few
TAGGED, LEAST = "emoji_subgroups", 8  # captions that a tag is in
SETTING = (
    f"{len(ALL)} data sets, {len(SEEDS)} seeds; texts are {len(TEMPLATES)} templates and the embedded descriptors; "
    f"linear heads, {SETTINGS.epochs} epochs of AdamW at {SETTINGS.lr}; errors are over data sets"
)
CHOSEN = "sigma by validation images, or where there are none by training images, which these heads never see"

Run = tuple[str, int]  # data set and seed
RUNS: Sequence[Run] = list(product(ALL, SEEDS))
Learnt = Callable[[Run], Close]


@dataclass(frozen=True)
class Texts:
    """Unit features (N, D) of the texts of a data set's classes, with labels (N,)."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Outcome:
    """Accuracy in percent of an arm in each run, on test and on validation images."""

    test: dict[Run, float]
    val: dict[Run, float]

    @property
    def tests(self) -> list[float]:
        """Of every data set the mean over seeds."""
        return by_set(self.test)


def by_set(found: Mapping[Run, float]) -> list[float]:
    """Numbers of runs -> of every data set the mean over seeds."""
    return [fmean(found[name, seed] for seed in SEEDS) for name in ALL]


def choosing(name: str) -> Part:
    """Images to choose settings on: validation images, or where there are none training images, never learnt on."""
    data = suite(name).train
    return validation(name) if data.dataset.split.val else data


@cache
def texts_of(name: str, templates: Sequence[str] = TEMPLATES, described: bool = True) -> Texts:
    """The texts of a data set, encoded."""
    descriptions = read_descriptions(EMBEDDED) if described else None
    texts, labels = class_texts(suite(name).classes.with_templates(templates), descriptions)
    return Texts(encode(backbone(), texts), labels)


def shots(name: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features and labels of a few training images of every class."""
    part = suite(name).train
    places = part.shots(count, seed)
    return part.features[places], part.labels[places]


def new_head(run: Run, **options: object) -> Close:
    """A classifier of a data set that has learnt nothing yet."""
    torch.manual_seed(run[1])
    head = create_head("close", backbone(), classnames=suite(run[0]).classes.classnames, **options)
    assert isinstance(head, Close)
    return head


def on_texts(run: Run, few: int = 0, **options: object) -> Close:
    """A head that has learnt on texts, and on `few` images of every class beside them."""
    name, seed = run
    head, texts, settings = new_head(run, **options), texts_of(name), TextTraining(**{**vars(SETTINGS), "seed": seed})
    adapter = head.config.adapter
    if adapter == "mean_shift" or head.config.centre:
        head.transfer.fit(suite(name).train.features, texts.features)
    elif adapter in ("covariance", "linear"):  # the sentence of an image's class is its text
        images, labels = shots(name, SHOTS, seed)
        own = texts_of(name, TEMPLATES[:1], described=False).features
        head.transfer.fit(images, own[labels])
    beside = shots(name, few, seed) if few else ()
    train_on_texts(head, texts.features, texts.labels, settings, *beside)
    return head


def on_images(run: Run, count: int) -> Close:
    """A head that has learnt on images alone."""
    name, seed = run
    torch.manual_seed(seed)
    head = new_head(run).train()
    features, labels = shots(name, count, seed)
    optimizer = torch.optim.AdamW(head.learnt_parameters().values(), lr=SETTINGS.lr)
    for _ in range(SETTINGS.epochs):
        loss = head.loss(features, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval()


@torch.no_grad()
def right(head: Close, part: Part) -> float:
    """Accuracy in percent on images."""
    return accuracy(head.outputs(part.features), part.labels)


def outcome(learnt: Learnt) -> Outcome:
    """An arm in every run."""
    heads = {run: learnt(run) for run in RUNS}
    test = {run: right(head, suite(run[0]).test) for run, head in heads.items()}
    return Outcome(test, {run: right(head, choosing(run[0])) for run, head in heads.items()})


def best(tried: Mapping[float, Outcome]) -> Outcome:
    """Of each data set the setting that is best on validation images, over seeds."""
    test, val = {}, {}
    for name in ALL:
        own = [(name, seed) for seed in SEEDS]
        chosen = max(tried.values(), key=lambda one: sum(one.val[run] for run in own))
        test.update({run: chosen.test[run] for run in own})
        val.update({run: chosen.val[run] for run in own})
    return Outcome(test, val)


def without_learning(name: str, kind: str) -> float:
    """Accuracy in percent of a method that learns nothing."""
    data = suite(name)
    method = {
        "zero_shot": lambda: create_method("zero_shot", backbone(), data.classes),
        "ensemble": lambda: create_method("zero_shot", backbone(), data.classes.with_templates(TEMPLATES)),
        "described": lambda: create_method("classify_by_description", backbone(), data.classes),
    }[kind]()
    with torch.no_grad():
        return accuracy(method.eval().logits(data.test.features), data.test.labels)


def measure() -> list[Finding]:
    """The claims of the paper, and those of our heads."""
    sweep = {sigma: outcome(partial(on_texts, sigma=sigma)) for sigma in SIGMAS}
    noisy, sigma = best(sweep), max(sweep, key=lambda one: sum(sweep[one].val.values()))
    oracle = outcome(partial(on_images, count=SHOTS))
    return [
        _near_images(noisy, oracle),
        _noise_helps(sweep, noisy),
        _sweep(sweep),
        _shifts(sweep[0.0], sweep[sigma], sigma),
        _over_zero_shot(noisy),
        _without_labels(noisy),
        _few_shot(noisy, sigma),
        _gap(sigma),
        _tagger(),
        _pairs(sigma),
    ]


def _near_images(noisy: Outcome, oracle: Outcome) -> Finding:
    enough = [int(suite(name).train.labels.bincount().median()) >= SHOTS for name in ALL]
    ahead = [texts >= images for texts, images in zip(noisy.tests, oracle.tests, strict=True)]
    ahead_of_enough = sum(one for one, full in zip(ahead, enough, strict=True) if full)
    whole = difference("texts minus images", noisy.tests, oracle.tests)
    return Finding(
        "A head that has read texts alone is close to one that has seen images",
        "abstract",
        f"{SETTING}; the other head has learnt on {SHOTS} images of every class, or all where there are fewer, 4 on "
        f"the smallest sets; {CHOSEN}",
        (over("texts alone, with noise", noisy.tests), over(f"{SHOTS} images a class", oracle.tests), whole),
        verdict(not loses(whole), 2 * ahead_of_enough >= sum(enough)),
        f"{sentence(whole, 'texts against images')} Texts are ahead on {sum(ahead)} of {len(ALL)} data sets, and on "
        f"{ahead_of_enough} of the {sum(enough)} that have {SHOTS} images of most classes.",
    )


def _noise_helps(sweep: Mapping[float, Outcome], noisy: Outcome) -> Finding:
    gain = difference("with noise minus without", noisy.tests, sweep[0.0].tests)
    return Finding(
        "Noise on the text features in training carries the head over the gap to images",
        "released code, which has it on by default",
        f"{SETTING}; {CHOSEN}",
        (over("without noise", sweep[0.0].tests), over("with noise", noisy.tests), gain),
        verdict(beats(gain)),
        sentence(gain, "noise"),
    )


def _sweep(sweep: Mapping[float, Outcome]) -> Finding:
    gains = [
        difference(f"sigma {sigma:.2f} minus none", one.tests, sweep[0.0].tests)
        for sigma, one in sweep.items()
        if sigma
    ]
    values = [over(f"sigma {sigma:.2f}", one.tests) for sigma, one in sweep.items()]
    top = max(sweep, key=lambda sigma: sum(sweep[sigma].tests))
    return Finding(
        "Every deviation of the sweep is better than no noise",
        "ours",
        f"{SETTING}; D = {backbone().embed_dim}, where noise of sigma 0.10 is as long as that of 0.05 at 512",
        (*values, *gains),
        verdict(*map(beats, gains)),
        f"{sum(map(beats, gains))} of {len(gains)} deviations are better than none by more than two standard errors; "
        f"on test images the best is {top:.2f}{', the largest that was tried' if top == max(sweep) else ''}.",
    )


def _shifts(plain: Outcome, noisy: Outcome, sigma: float) -> Finding:
    bare = outcome(partial(on_texts, adapter="mean_shift", sigma=0.0))
    arms = {
        "mean shift": outcome(partial(on_texts, adapter="mean_shift", sigma=sigma)),
        "random shift": outcome(partial(on_texts, adapter="random_shift", sigma=sigma)),
        "covariance noise": outcome(partial(on_texts, adapter="covariance", sigma=sigma)),
        "linear map": outcome(partial(on_texts, adapter="linear", sigma=sigma)),
        "centred images": outcome(partial(on_texts, centre=True, sigma=sigma)),
    }
    alone = difference("mean shift without noise minus nothing", bare.tests, plain.tests)
    gains = {
        name: difference(f"{name} with noise minus noise alone", one.tests, noisy.tests) for name, one in arms.items()
    }
    harmless = not loses(gains["random shift"])
    helpful = [name for name, gain in gains.items() if beats(gain)]
    return Finding(
        "Knowing the shift to images helps without noise and adds little to noise; a wrong shift does little harm",
        "released code, which has all as options",
        f"{SETTING}; sigma {sigma}; the mean shift is of unlabelled training images, covariance and map of {SHOTS} "
        "labelled ones a class",
        (over("mean shift without noise", bare.tests), alone, *gains.values()),
        verdict(beats(alone), not helpful, harmless),
        f"{sentence(alone, 'the mean shift without noise')} With noise, better than noise alone: "
        f"{', '.join(helpful) or 'none'}; worse: {', '.join(name for name, g in gains.items() if loses(g)) or 'none'}. "
        "Covariance and map are estimated from labelled images, so they are no text-only heads.",
    )


def _over_zero_shot(noisy: Outcome) -> Finding:
    kinds = {"zero_shot": "zero-shot", "ensemble": "prompt ensemble", "described": "descriptions"}
    found = {kind: [without_learning(name, kind) for name in ALL] for kind in kinds}
    gains = {kind: difference(f"head minus {kinds[kind]}", noisy.tests, found[kind]) for kind in kinds}
    values = [over(kinds[kind], found[kind]) for kind in kinds]
    return Finding(
        "A head on texts is better than comparing images with the texts of the classes",
        "ours",
        f"{SETTING}; {CHOSEN}; with the same templates and the same descriptors",
        (*values, over("texts alone, with noise", noisy.tests), *gains.values()),
        verdict(*map(beats, gains.values())),
        " ".join(sentence(gains[kind], f"over {kinds[kind]}") for kind in kinds),
    )


def _without_labels(noisy: Outcome) -> Finding:
    def matched(run: Run) -> Close:
        name = run[0]
        classes = texts_of(name, TEMPLATES[:1], described=False).features
        return on_texts(run, sigma=matched_sigma(suite(name).train.features, texts_of(name).features, classes))

    by_default, unlabelled = outcome(on_texts), outcome(matched)
    gains = [
        difference("matched to unlabelled images minus validated", unlabelled.tests, noisy.tests),
        difference("default minus validated", by_default.tests, noisy.tests),
    ]
    values = (over("matched", unlabelled.tests), over("default", by_default.tests), over("validated", noisy.tests))
    return Finding(
        "The noise can be chosen without a labelled image",
        "ours",
        f"{SETTING}; matched: the cosines of noisy texts to the nearest class are those of unlabelled training images; "
        "default: 0.05 (512 / D)^(1/2)",
        (*values, *gains),
        verdict(*(not loses(gain) for gain in gains)),
        f"{sentence(gains[0], 'matched')} {sentence(gains[1], 'by default')}",
    )


def _few_shot(noisy: Outcome, sigma: float) -> Finding:
    mixed = outcome(partial(on_texts, few=FEW, sigma=sigma))
    alone = outcome(partial(on_images, count=FEW))
    gains = [
        difference("mixed minus images alone", mixed.tests, alone.tests),
        difference("mixed minus texts alone", mixed.tests, noisy.tests),
    ]
    return Finding(
        "Texts beside a few images are better than either alone",
        "ours",
        f"{SETTING}; {FEW} images of every class without noise, each with the weight of a text; sigma {sigma}",
        (over("texts and images", mixed.tests), over("images alone", alone.tests), *gains),
        verdict(*map(beats, gains)),
        f"{sentence(gains[0], 'over images alone')} {sentence(gains[1], 'over texts alone')}",
    )


def _gap(sigma: float) -> Finding:
    reports = [gap_report(suite(name).train.features, texts_of(name).features) for name in ALL]
    lost: dict[float, dict[Run, TransferGap]] = {}
    for used in (0.0, sigma):
        lost[used] = {}
        for run in RUNS:
            other, test = texts_of(run[0], HELD_OUT, described=False), suite(run[0]).test
            head = on_texts(run, sigma=used)
            lost[used][run] = transfer_gap(head, other.features, other.labels, test.features, test.labels)
    separable = over("a linear classifier tells images from texts", [one.separability for one in reports])
    gaps = [
        over(f"accuracy on held-out texts, sigma {used}", by_set({run: one.texts for run, one in found.items()}))
        for used, found in lost.items()
    ]
    without, with_noise = (by_set({run: one.gap for run, one in found.items()}) for found in lost.values())
    smaller = difference("gap from texts to images without noise minus with", without, with_noise)
    return Finding(
        "Texts and images lie apart, told by a linear classifier, and noise makes the loss between them smaller",
        "ours",
        f"{SETTING}; the report is of training images and texts, tested on halves; held-out texts: "
        + ", ".join(HELD_OUT),
        (
            over("distance of the means of unit features", [one.distance for one in reports], ""),
            over("mean cosine of images", [one.image_cosine for one in reports], ""),
            over("mean cosine of texts", [one.text_cosine for one in reports], ""),
            separable,
            *gaps,
            smaller,
        ),
        verdict(separable.value > 99, beats(smaller)),
        sentence(smaller, "the smaller gap"),
    )


@dataclass(frozen=True)
class Titled:
    """Images that have titles as features (N, D), with the titles."""

    features: Tensor
    titles: Sequence[str]


def titled(part: Part) -> Titled:
    """The images whose code points have names."""
    named = [(place, title(TAGGED, item)) for place, item in enumerate(part.items) if _is_named(item.path)]
    return Titled(part.features[[place for place, _ in named]], [text for _, text in named])


def _is_named(path: str) -> bool:
    stem = path.rpartition("/")[2].partition(".")[0]
    return all(unicodedata.name(chr(int(code, 16)), "") for code in stem.split("-"))


def _tagger() -> Finding:
    train, val, test = titled(suite(TAGGED).train), titled(validation(TAGGED)), titled(suite(TAGGED).test)
    captions = list(dict.fromkeys(train.titles))
    nouns, _ = caption_tags(captions, least_captions=LEAST)
    there = caption_tags(test.titles, nouns)[1].any(dim=0) & caption_tags(val.titles, nouns)[1].any(dim=0)
    tags = tuple(noun for noun, kept in zip(nouns, there.tolist(), strict=True) if kept)
    of_train, of_val, of_test = (caption_tags(part.titles, tags)[1] for part in (train, val, test))
    texts = encode(backbone(), [template.replace("{}", text) for text in captions for template in TEMPLATES])
    text_targets = caption_tags(captions, tags)[1].repeat_interleave(len(TEMPLATES), dim=0)

    def learnt(sigma: float, images: bool = False) -> tuple[Tensor, Tensor]:
        """Average precision in percent of every tag on test and on validation images, the mean over seeds."""
        on_test, on_val = [], []
        for seed in SEEDS:
            torch.manual_seed(seed)
            head = create_head("close_tagger", backbone(), tags=tags, sigma=sigma)
            assert isinstance(head, CloseTagger)
            given = (train.features, of_train) if images else (texts, text_targets)
            train_on_texts(head, *given, TextTraining(epochs=40, lr=1e-2, seed=seed))
            with torch.no_grad():
                on_test.append(average_precisions(head.outputs(test.features), of_test))
                on_val.append(average_precisions(head.outputs(val.features), of_val))
        return 100 * torch.stack(on_test).mean(dim=0), 100 * torch.stack(on_val).mean(dim=0)

    tried = {sigma: learnt(sigma) for sigma in SIGMAS}
    sigma = max(tried, key=lambda one: float(tried[one][1].mean()))
    noisy, plain = tried[sigma][0].tolist(), tried[0.0][0].tolist()
    oracle = learnt(0.0, images=True)[0].tolist()
    names = encode(backbone(), [f"a photo of a {tag}." for tag in tags])
    cosines = F.normalize(test.features, dim=-1) @ names.T
    nearest = (100 * average_precisions(cosines, of_test)).tolist()
    gains = [
        difference("with noise minus without", noisy, plain),
        difference("with noise minus cosines to the tags", noisy, nearest),
        difference("with noise minus learnt on images", noisy, oracle),
    ]
    said = zip(gains, ("noise", "over cosines", "over images"), strict=True)
    return Finding(
        "Captions alone teach a tagger of images",
        "ours",
        f"mean average precision over {len(tags)} nouns in {LEAST} or more of {len(captions)} titles of {TAGGED}, "
        f"{len(test.titles)} test images, {len(SEEDS)} seeds, asymmetric loss; errors are over nouns; sigma {sigma} by "
        "validation images",
        (
            over("cosines to the tags, no learning", nearest),
            over("without noise", plain),
            over("with noise", noisy),
            over("learnt on the training images and their titles", oracle),
            *gains,
        ),
        verdict(*map(beats, gains[:2])),
        " ".join(sentence(gain, what) for gain, what in said),
    )


def _pairs(sigma: float) -> Finding:
    """Two verdicts: a sentence names the class of the premise, or another one."""
    found = {one: by_set({run: _pair_accuracy(run, one) for run in RUNS}) for one in (0.0, sigma)}
    cosines = by_set({run: _pairs_by_cosine(run) for run in RUNS})
    gains = [
        difference("with noise minus without", found[sigma], found[0.0]),
        difference("with noise minus chance", found[sigma], [50.0] * len(ALL)),
    ]
    values = (
        over("cosines, split at their median over the test pairs", cosines),
        over("without noise", found[0.0]),
        over("with noise", found[sigma]),
    )
    return Finding(
        "A head for pairs that has learnt on sentences judges images",
        "abstract",
        f"{len(ALL)} data sets, {len(SEEDS)} seeds; premise and hypothesis name the same class or two classes; tested "
        f"on images with a true and a random false sentence each; one hidden layer; sigma {sigma}; errors are over "
        "data sets",
        (*values, *gains),
        verdict(*map(beats, gains)),
        f"{sentence(gains[0], 'noise')} {sentence(gains[1], 'over chance')} SNLI-VE is not embedded and was not tried.",
    )


def _sentences(name: str) -> tuple[str, ...]:
    return tuple(f"this is a {each}." for each in suite(name).classes.readable)


def _pair_accuracy(run: Run, sigma: float) -> float:
    name, seed = run
    torch.manual_seed(seed)
    texts, sentences = texts_of(name), _sentences(name)
    head = create_head(
        "close_pairs", backbone(), sigma=sigma, verdicts=("true", "false"), hypotheses=sentences, hidden=128
    )
    assert isinstance(head, ClosePairs)
    hypotheses = encode(backbone(), list(sentences))
    own, other = texts.labels, _others(texts.labels, len(sentences), seed)
    rows = torch.stack([texts.features.repeat(2, 1), hypotheses[torch.cat([own, other])]], dim=1)
    verdicts = torch.arange(2).repeat_interleave(len(own))
    train_on_texts(head, rows, verdicts, TextTraining(epochs=60, lr=2e-3, seed=seed))
    test = suite(name).test
    with torch.no_grad():
        logits = torch.cat([head.outputs(some) for some in test.features.split(64)])  # (N, H, 2)
    return _hits(logits[..., 0] > logits[..., 1], test.labels, seed)


def _pairs_by_cosine(run: Run) -> float:
    """Accuracy of cosines of images and sentences, of which the larger half over the test pairs is taken as true."""
    name, seed = run
    test, hypotheses = suite(name).test, encode(backbone(), list(_sentences(name)))
    cosines = F.normalize(test.features, dim=-1) @ hypotheses.T
    places, false = torch.arange(len(test.labels)), _others(test.labels, len(hypotheses), seed)
    asked = torch.cat([cosines[places, test.labels], cosines[places, false]])
    return _hits(cosines > asked.median(), test.labels, seed)


def _hits(said: Tensor, labels: Tensor, seed: int) -> float:
    """Percent of right answers of said (N, H), true or not, on the true sentence of each image and on a false one."""
    places, false = torch.arange(len(labels)), _others(labels, said.shape[1], seed)
    return 100 * float(torch.cat([said[places, labels], ~said[places, false]]).float().mean())


def _others(labels: Tensor, count: int, seed: int) -> Tensor:
    """For each label another one of `count`, drawn."""
    generator = torch.Generator().manual_seed(seed)
    return (labels + torch.randint(1, count, labels.shape, generator=generator)) % count
