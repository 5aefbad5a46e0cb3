"""Names of emoji in twelve languages: how far from English, and what each kind of language adapter learns of them.

Classes of all emoji data sets are divided at random: an adapter learns the names of some, its setting is chosen on a
second part with training drawings, and the third part is tested, whose names it has never seen.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import torch

from adaptkit import create_head
from adaptkit.texts.babel import Babel, TextReader
from adaptkit.texts.babel.head import Kind, token_ids
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.suite import EMOJI, Part, backbone, suite
from benchmarks.verdicts import beats, sentence, verdict
from datasets_fewshot.languages import MultilingualLabels, embedded_labels
from datasets_fewshot.languages.pairs import TextPair, pairs_of_names
from trainers.evaluation.multilingual import LanguageScore, english_labels, eval_languages
from trainers.fit.languages import LanguageLog, LanguageTraining, train_language

KINDS: tuple[Kind, ...] = ("lora", "bottleneck", "embedding", "projection")
LEARNT, SEEDS = ("de", "es", "ru"), (1, 2)
RATES: Mapping[Kind, tuple[float, ...]] = {
    "lora": (1e-4, 3e-3),
    "bottleneck": (1e-4, 5e-4),
    "embedding": (5e-4, 2e-3),
    "projection": (5e-4, 3e-3),
}
EPOCHS, BATCH = 15, 128
CHOSEN_ON = ("de", 1)  # the language and seed whose validation classes choose the rates
SETTING = (
    f"zero-shot with names alone on {len(EMOJI)} emoji data sets, 778 classes; errors are over data sets and languages"
)
DIVISION = (
    f"60 % of the classes are learnt, 20 % choose the rate, 20 % are tested; {', '.join(LEARNT)}, {len(SEEDS)} "
    f"divisions; {EPOCHS} epochs, batches of {BATCH}; errors are over languages, divisions and data sets"
)


@cache
def divided(name: str, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Classes of a data set to learn, to choose on and to test."""
    count = len(suite(name).classes)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    first, second = round(0.6 * count), round(0.8 * count)
    return sorted(order[:first]), sorted(order[first:second]), sorted(order[second:])


def score(reader: TextReader, name: str, language: str, classes: Sequence[int] | None, part: Part) -> LanguageScore:
    """One language on one data set, on all its classes or on some."""
    labels = embedded_labels(name)[language]
    labels = labels if classes is None else labels.of_classes(classes)
    english = english_labels(suite(name).classes.classnames)
    table = eval_languages(
        reader.encode,
        part.features,
        part.labels,
        MultilingualLabels([labels]),
        english,
        read=reader.read,
        cut=reader.cut,
    )
    return table.scores[0]


def pairs_of(language: str, seed: int) -> list[TextPair]:
    """Names to learn from, of all data sets."""
    return [
        pair
        for name in EMOJI
        for pair in pairs_of_names(
            suite(name).classes.classnames, embedded_labels(name)[language], divided(name, seed)[0]
        )
    ]


def trained(kind: Kind, language: str, seed: int, rate: float) -> tuple[Babel, LanguageLog]:
    """A head that has learnt a language."""
    pairs = pairs_of(language, seed)
    tokens = token_ids(backbone(), [text for _, text in pairs]) if kind == "embedding" else ()
    torch.manual_seed(seed)
    head = create_head("babel", backbone(), language=language, kind=kind, tokens=tokens)
    assert isinstance(head, Babel)
    return head, train_language(head, pairs, LanguageTraining(EPOCHS, rate, BATCH, seed=seed))


def chosen_rate(kind: Kind) -> float:
    """The rate with the best accuracy on validation classes, with training drawings."""
    language, seed = CHOSEN_ON

    def validated(rate: float) -> float:
        head, _ = trained(kind, language, seed, rate)
        found = [score(head.reader, name, language, divided(name, seed)[1], suite(name).train) for name in EMOJI]
        return sum(each.accuracy for each in found)

    return max(RATES[kind], key=validated)


def measure() -> list[Finding]:
    plain = TextReader(backbone())
    everywhere = {
        language: [score(plain, name, language, None, suite(name).test) for name in EMOJI]
        for language in embedded_labels(EMOJI[0])
    }
    return [_gap_finding(everywhere), *_adapter_findings(plain)]


def _gap_finding(everywhere: Mapping[str, Sequence[LanguageScore]]) -> Finding:
    english = over("accuracy in English", [one.english for one in everywhere["de"]])
    chance = over("chance", [one.chance for one in everywhere["de"]])
    values = []
    for language, scores in everywhere.items():
        cut = 100 * sum(one.cut for one in scores) / sum(one.classes for one in scores)
        tied = sum(one.tied_classes for one in scores)
        remark = f"{cut:.0f} % of names cut, {tied} classes tied"
        values.append(over(f"{language} ({remark})", [one.accuracy for one in scores]))
    gaps = {
        lang: difference(lang, [s.english for s in own], [s.accuracy for s in own]) for lang, own in everywhere.items()
    }
    above = [
        lang
        for lang, own in everywhere.items()
        if beats(difference(lang, [s.accuracy for s in own], [s.chance for s in own]))
    ]
    return Finding(
        "An English CLIP is far below English in other languages, at chance where the script is another one",
        "released logs",
        SETTING,
        (english, chance, *values),
        verdict(*(beats(gap) for gap in gaps.values())),
        f"The gap to English on the same classes lies beyond two standard errors in {sum(map(beats, gaps.values()))} "
        f"of {len(gaps)} languages; above chance by as much are: {', '.join(above) or 'none'}.",
    )


def _adapter_findings(plain: TextReader) -> list[Finding]:
    rates = {kind: chosen_rate(kind) for kind in KINDS}
    held: list[Value] = []
    known: list[Value] = []
    kept: list[Value] = []
    for kind in KINDS:
        runs = [(language, seed, *trained(kind, language, seed, rates[kind])) for language in LEARNT for seed in SEEDS]
        gains: dict[int, tuple[list[float], list[float]]] = {0: ([], []), 2: ([], [])}
        english: tuple[list[float], list[float]] = ([], [])
        for language, seed, head, _ in runs:
            for name in EMOJI:
                for part, (after, before) in gains.items():
                    classes, test = divided(name, seed)[part], suite(name).test
                    ours, theirs = (score(reader, name, language, classes, test) for reader in (head.reader, plain))
                    after.append(ours.accuracy)
                    before.append(theirs.accuracy)
                english[0].append(ours.english)
                english[1].append(theirs.english)
        what = f"{kind}, rate {rates[kind]:g}"
        held.append(difference(f"held-out names, {what}", *gains[2]))
        known.append(difference(f"learnt names, {what}", *gains[0]))
        kept.append(difference(f"English accuracy, {what}", *english))
        kept.append(over(f"cosine of learnt English names, {kind}", [log.drift.mean for *_, log in runs], ""))
    return [
        Finding(
            "Cheap training for one language raises its accuracy on classes whose names were never trained",
            "abstract",
            DIVISION,
            tuple(held),
            verdict(*map(beats, held)),
            " ".join(sentence(value, value.what) for value in held),
        ),
        Finding(
            "The names that were trained are learnt, on test drawings",
            "ours",
            DIVISION,
            tuple(known),
            verdict(*map(beats, known)),
            f"The gain lies beyond two standard errors for {sum(map(beats, known))} of {len(known)} kinds.",
        ),
        Finding(
            "English stays: the cosine of English names with the frozen tower is 0.95 or more",
            "ours",
            f"{DIVISION}; English accuracy is on the tested classes, its change in points",
            tuple(kept),
            verdict(*(value.value >= 0.95 for value in kept if value.unit == "")),
            f"The mean cosine is 0.95 or more for {sum(v.value >= 0.95 for v in kept if v.unit == '')} of {len(KINDS)} "
            "kinds.",
        ),
    ]
