"""Zero-shot accuracy with class names in many languages, beside English on the same classes and images.

Geigle et al., "Babel-ImageNet", arXiv:2306.08658, for the classes S that a language has names of: only images of S are
classified, among S alone, with the weight of a class
    w = n(mean over names and templates of n(g(template(name))))       n: to unit length, left out for a single text
Languages name different classes, so their accuracies do not compare with each other. What compares is the gap to
English on the same S, and the distance from chance, 1 / |S|.

Departure: classes with the same texts share one weight, and an image of either is right; ties="first" answers with the
    first of them, as released.
Departure: a language without templates is left out of their setting and listed; the released code prints an error.
"""

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets_fewshot.languages import LabelsError, LanguageLabels, MultilingualLabels

Encode = Callable[[Sequence[str]], Tensor]  # N texts -> features (N, D), not normalised
Read = Callable[[str], Hashable]  # what the text tower sees of a text: texts that are equal there have one feature
Cut = Callable[[Sequence[str]], Sequence[bool]]  # which texts are longer than the context
Ties = Literal["either", "first"]
# The name alone; in the templates of English; in the templates of its own language.
Setting = Literal["label", "english_templates", "translated_templates"]
SETTINGS: tuple[Setting, ...] = ("label", "english_templates", "translated_templates")
NAME_ALONE = ("{}",)
MANY_CUT = 0.3  # share of names longer than the context above which a report warns
GROUPS = {"very low": 100, "low": 333, "mid": 666}  # most classes of a group of languages; "high" has more


@dataclass(frozen=True)
class LanguageScore:
    """One language in one setting. Accuracies are in percent, of the images of the classes that it has names of."""

    language: str
    setting: Setting
    classes: int
    images: int
    accuracy: float
    english: float  # with English names, on the same classes and images
    tied_classes: int  # classes whose texts are also those of another class
    same_as_english: int  # classes whose name is the English one
    cut: int  # classes with a text that is longer than the context

    @property
    def gap(self) -> float:
        """Accuracy minus that with English names, in points."""
        return self.accuracy - self.english

    @property
    def chance(self) -> float:
        """The accuracy of guesses, in percent."""
        return 100 / self.classes

    @property
    def group(self) -> str:
        """The paper's group of languages with about as many named classes."""
        return next((name for name, most in GROUPS.items() if self.classes <= most), "high")


@dataclass(frozen=True)
class LanguageTable:
    """Scores by setting and then by language, and what had no templates."""

    scores: tuple[LanguageScore, ...]
    left_out: tuple[tuple[str, Setting], ...]  # (language, setting)

    def group_means(self, setting: Setting) -> dict[str, tuple[int, float]]:
        """Of each group the number of its languages and their mean accuracy, English not among them."""
        groups: dict[str, list[float]] = {}
        for score in self.scores:
            if score.setting == setting and score.language != "en":
                groups.setdefault(score.group, []).append(score.accuracy)
        order = [*GROUPS, "high"]
        return {name: (len(groups[name]), statistics.fmean(groups[name])) for name in order if name in groups}


@dataclass(frozen=True)
class Classifier:
    """Distinct class weights (U, D), unit rows, and of each class the row that is its own (C,)."""

    weights: Tensor
    rows: Tensor

    def right(self, features: Tensor, places: Tensor, ties: Ties) -> Tensor:
        """Whether images with features (N, D) are found to be of the classes at places (N,): (N,) bool."""
        answered = (F.normalize(features, dim=-1) @ self.weights.T).argmax(dim=-1).to(self.rows.device)  # (N,)
        right = answered == self.rows[places]
        if ties == "first":
            firsts = torch.tensor([int((self.rows == row).nonzero()[0]) for row in range(len(self.weights))])
            right &= firsts[self.rows[places]] == places
        return right

    @property
    def tied(self) -> int:
        """Classes that share their weight with another."""
        counts = self.rows.bincount()
        return int((counts[self.rows] > 1).sum())


def texts_of(labels: LanguageLabels, templates: Sequence[str]) -> list[tuple[str, ...]]:
    """The texts of every class: each of its names in each template."""
    return [tuple(template.replace("{}", name) for template in templates for name in own) for own in labels.names]


@torch.no_grad()
def classifier_of(texts: Sequence[tuple[str, ...]], encode: Encode, read: Read = str) -> Classifier:
    """The classifier of classes with these texts; classes whose texts read the same share a weight."""
    places: dict[tuple[Hashable, ...], int] = {}
    distinct: list[tuple[str, ...]] = []
    rows = []
    for own in texts:
        key = tuple(map(read, own))
        if key not in places:
            places[key] = len(distinct)
            distinct.append(own)
        rows.append(places[key])
    features = F.normalize(encode([text for own in distinct for text in own]), dim=-1)
    weights = [
        part[0] if len(part) == 1 else F.normalize(part.mean(dim=0), dim=-1)
        for part in features.split([len(own) for own in distinct])
    ]
    return Classifier(torch.stack(weights), torch.tensor(rows))


def eval_languages(
    encode: Encode,
    features: Tensor,
    labels: Tensor,
    languages: MultilingualLabels,
    english: LanguageLabels,
    settings: Iterable[Setting] = ("label",),
    *,
    ties: Ties = "either",
    read: Read = str,
    cut: Cut | None = None,
) -> LanguageTable:
    """Accuracy of every language in every setting. A language's result does not depend on the others of the call.

    Args:
        encode: of texts; `TextReader` has this and the two functions below for a backbone.
        features: image features (N, D).
        labels: (N,) classes of the images.
        english: English names of all classes, and English templates.
        ties: what is right where classes have the same texts: either of them, or the first alone.

    Raises:
        LabelsError: if a language names a class that English does not, or none of its classes has an image.
        ValueError: if there are not as many labels as images, or a setting is unknown.

    Example:
        ```python
        from adaptkit.texts.babel import TextReader
        from datasets_fewshot.languages import LanguageLabels, MultilingualLabels
        from trainers.evaluation.multilingual import eval_languages

        reader = TextReader(adaptkit.load_backbone("adaptkit-mini"))
        features, labels = reader.backbone.encode_image(torch.rand(4, 3, 48, 48)), torch.tensor([0, 1, 2, 0])
        english = LanguageLabels("en", (0, 1, 2), (("dog",), ("cat",), ("violin",)), ("a photo of a {}.",))
        german = LanguageLabels("de", (0, 1), (("Hund",), ("Katze",)))
        table = eval_languages(reader.encode, features, labels, MultilingualLabels([german]), english)
        print(table.scores[0].accuracy, table.scores[0].gap, table.scores[0].chance)
        ```
    """
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} image features and {len(labels)} labels; give one label for each image")
    scores, left_out = [], []
    for setting in settings:
        if setting not in SETTINGS:
            raise ValueError(f"setting {setting!r} is unknown; take one of {', '.join(SETTINGS)}")
        for own in languages.values():
            templates = prompts_of(own, english, setting)
            if not templates:
                left_out.append((own.language, setting))
                continue
            there = torch.isin(labels.cpu(), torch.tensor(own.indices))
            if not there.any():
                raise LabelsError(f"no image is of the {len(own)} classes that language {own.language} names")
            place_of = {index: place for place, index in enumerate(own.indices)}
            places = torch.tensor([place_of[label] for label in labels[there.to(labels.device)].tolist()])
            images = features[there.to(features.device)]
            same = english.of_classes(own.indices)
            texts = texts_of(own, templates)
            classifier = classifier_of(texts, encode, read)
            in_english = classifier_of(texts_of(same, prompts_of(english, english, setting)), encode, read)
            scores.append(
                LanguageScore(
                    own.language,
                    setting,
                    len(own),
                    len(images),
                    _percent(classifier.right(images, places, ties)),
                    _percent(in_english.right(images, places, ties)),
                    classifier.tied,
                    sum(map(_same_names, own.names, same.names)),
                    0 if cut is None else sum(any(cut(some)) for some in texts),
                )
            )
    return LanguageTable(tuple(scores), tuple(left_out))


def prompts_of(labels: LanguageLabels, english: LanguageLabels, setting: Setting) -> tuple[str, ...]:
    """The templates of a language in a setting; those of English are its own."""
    if setting == "label":
        return NAME_ALONE
    if setting == "english_templates" or (labels.language == english.language and not labels.templates):
        return english.templates
    return labels.templates


def _same_names(first: Sequence[str], second: Sequence[str]) -> bool:
    return {name.casefold() for name in first} == {name.casefold() for name in second}


def _percent(right: Tensor) -> float:
    return 100 * float(right.double().mean())


def english_labels(classnames: Sequence[str], templates: Sequence[str] = ()) -> LanguageLabels:
    """The English names of a data set as labels, with spaces for underscores."""
    names = tuple((name.replace("_", " "),) for name in classnames)
    return LanguageLabels("en", tuple(range(len(names))), names, tuple(templates))


def as_table(table: LanguageTable) -> str:
    """The scores as lines for a terminal."""
    head = (
        f"{'language':10}{'setting':22}{'classes':>8}{'images':>8}{'accuracy':>10}{'English':>9}{'gap':>8}{'chance':>8}"
    )
    lines = [head]
    for score in table.scores:
        lines.append(
            f"{score.language:10}{score.setting:22}{score.classes:8}{score.images:8}{score.accuracy:10.1f}"
            f"{score.english:9.1f}{score.gap:+8.1f}{score.chance:8.1f}"
        )
    return "\n".join(lines)


def notes(table: LanguageTable) -> list[str]:
    """What a reader of the scores has to know: ties, cut names, languages without templates, and groups."""
    found = [
        f"{language} has no templates of its own and is left out of {setting}" for language, setting in table.left_out
    ]
    for score in table.scores:
        what = f"{score.language}, {score.setting}"
        if score.tied_classes:
            found.append(f"{what}: {score.tied_classes} of {score.classes} classes share their texts; either is right")
        if score.same_as_english and score.language != "en":
            found.append(f"{what}: {score.same_as_english} of {score.classes} names are the English ones")
        if score.cut > MANY_CUT * score.classes:
            found.append(
                f"{what}: {score.cut} of {score.classes} classes have texts that are longer than the context and lose "
                "their end; take a backbone whose tokenizer knows the language"
            )
    settings = dict.fromkeys(score.setting for score in table.scores)
    grouped: Mapping[Setting, dict[str, tuple[int, float]]] = {name: table.group_means(name) for name in settings}
    for setting, groups in grouped.items():
        found += [
            f"{setting}: mean of {n} languages with {name} numbers of classes {mean:.1f} %"
            for name, (n, mean) in groups.items()
        ]
    return found
