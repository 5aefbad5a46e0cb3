"""Descriptions around a method: its classes are read by what a file says of them, in the place of templates.

After Menon & Vondrick, "Visual Classification via Description from Large Language Models", arXiv:2210.07183. For a
class with descriptors D(c) and phrases u(c, d) = normalise(g("name, which has d")), the inner method meets
    w_c = normalise(mean_{d in D(c)} u(c, d))
where it would meet the class weights of its templates: Tip-Adapter beside a cache, CLIP-Adapter behind its bottleneck,
an adapted text tower in every step. `classify_by_description` scores with the mean itself, without normalising it.

Departure: the paper has no learning method around it; the mean is normalised because those methods take unit rows.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.creation import with_classes
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.options import option, options
from adaptkit.regular_file import shortened
from adaptkit.texts.classify_by_description.config import descriptions_file
from adaptkit.texts.descriptions import DescriptionError, read_descriptions
from adaptkit.texts.phrases import ClauseRule, Inclusion, PhraseStyle


@options
class DescriptionsConfig:
    file: str = option(
        "",
        "JSON file of class name: [descriptors]; empty for the one of the embedded suite. The phrases of the classes "
        "travel with a saved adapter, other classes need the file again.",
        file=descriptions_file,
    )
    inclusion: Inclusion = option("prepend", "The class name stands before its clause, behind it, or not at all.")
    clause_rule: ClauseRule = option(
        "word",
        'How a descriptor becomes a clause: by its first word, by its first letters as released ("code"), or not.',
    )
    missing: Literal["refuse", "name"] = option(
        "refuse", 'Classes that your file says nothing of are refused ("refuse"), or read by their templates ("name").'
    )


@register_wrapper("descriptions", DescriptionsConfig)
class DescriptionsWrapper(MethodWrapper):
    """A method whose class weights come from the descriptors of a file."""

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: DescriptionsConfig):
        make_described = with_classes(make_inner, partial(described, config=config))
        super().__init__(backbone, make_described(backbone))
        self.config = config

    def set_classes(self, classnames: Sequence[str] | ClassSet) -> None:
        super().set_classes(described(self.class_set(classnames), self.config))


def described(classes: ClassSet, config: DescriptionsConfig) -> ClassSet:
    """The classes with phrases as sentences; classes that have sentences already keep them.

    Raises:
        FileNotFoundError: if there is no such file.
        DescriptionError: if a file of the user's says nothing of a class.
    """
    if classes.sentences is not None or not len(classes):
        return classes
    descriptions = read_descriptions(descriptions_file(config.file))
    style = PhraseStyle(config.inclusion, config.clause_rule)
    report = descriptions.report(classes.classnames)
    if report.missing and config.file and config.missing == "refuse":
        raise DescriptionError(
            f"{config.file} says nothing of {len(report.missing)} classes, such as {report.missing[0]!r}; add them, or "
            "take missing='name'. `adaptkit descriptors check` lists them"
        )
    if not report.complete:
        left = (*report.missing, *report.empty)
        warnings.warn(
            f"{len(left)} classes have no descriptors, such as {shortened(repr(left[0]), 60)}, and are read by their "
            "templates; `adaptkit descriptors check` lists them",
            stacklevel=2,
        )
    sentences = [
        tuple(style.phrase(said, one.text) for one in descriptions.of(name) or ()) or own
        for name, said, own in zip(classes.classnames, classes.readable, classes.texts, strict=True)
    ]
    return replace(classes, sentences=tuple(sentences))
