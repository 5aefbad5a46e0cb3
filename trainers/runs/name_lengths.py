"""Class names too long for a backbone's prompts keep the words that fit, and every record says so.

The 77 positions of CLIP's text towers hold all names of the papers. The embedded model's 24 are too few for five of
StanfordCars, and a bench over the whole suite runs on it all the same.
"""

from collections.abc import Sequence
from dataclasses import replace

from adaptkit import ClassSet, FrozenCLIP
from adaptkit.classes.templates import DEFAULT_TEMPLATE
from adaptkit.texts.class_texts import ClassTexts
from datasets_fewshot import FewShotDataset, Split
from trainers.config.settings import BenchConfig
from trainers.config.values import ConfigError
from trainers.protocols.task import Sources


def shorten_names(sources: Sources, config: BenchConfig, backbone: FrozenCLIP) -> Sources:
    """The same data sets with names that fit into the prompts of the bench.

    Raises:
        ConfigError: if a template has no room for a name.
    """
    templates = {
        name: list({template: None for run in config.runs if run.dataset == name for template in run.templates})
        for name in sources.datasets
    }
    for template in {template: None for its in templates.values() for template in its}:
        check_template_length(template, backbone)
    texts = next((run.texts for run in config.runs if run.texts is not None), None)
    datasets = {name: _fit(dataset, templates[name], backbone, texts) for name, dataset in sources.datasets.items()}
    targets = {
        source: {name: _fit(dataset, templates[source], backbone, texts) for name, dataset in others.items()}
        for source, others in sources.targets.items()
    }
    return replace(sources, datasets=datasets, targets=targets)


def check_template_length(template: str, backbone: FrozenCLIP) -> None:
    """Check that a template leaves room for one token of a class name.

    Raises:
        ConfigError: with the template, its tokens and the length of the context.
    """
    tokenizer = backbone.tokenizer
    special = tokenizer.n_special
    tokens = special + len(tokenizer.words(template.format("")))
    if tokens >= backbone.context_length:
        raise ConfigError(
            f"the template {template!r} has {tokens} tokens without a class name, and the text tower of "
            f"{backbone.name} has room for {backbone.context_length}; shorten the template"
        )


def _fit(
    dataset: FewShotDataset, templates: Sequence[str], backbone: FrozenCLIP, texts: ClassTexts | None
) -> FewShotDataset:
    """A data set with names that fit; those that a person describes stay, as they are looked up by them."""
    readable = ClassSet(dataset.classnames).readable
    fitting = (fitting_words(name, templates, backbone) for name in readable)
    cut = {
        name: words
        for name, whole, words in zip(dataset.classnames, readable, fitting, strict=True)
        if words != whole and (texts is None or texts.of(name) is None)
    }
    if not cut:
        return dataset
    split = Split(
        *(tuple(replace(i, classname=cut.get(i.classname, i.classname)) for i in part) for part in dataset.split)
    )
    first, words = next(iter(cut.items()))
    note = (
        f"{len(cut)} class names do not fit into the {backbone.context_length} positions of the text tower and are "
        f"cut, such as {first!r} to {words!r}"
    )
    return replace(dataset, split=split, notes=(*dataset.notes, note))


def fitting_words(name: str, templates: Sequence[str], backbone: FrozenCLIP) -> str:
    """The first words of a name that fit into every template and the default one, at least one word.

    The default template is as long as a learnt context of four. A method refuses a single word that is too long.
    """
    tokenizer = backbone.tokenizer
    special = tokenizer.n_special
    longest = max((*templates, DEFAULT_TEMPLATE), key=lambda template: len(tokenizer.words(template.format("X"))))
    words = name.split(" ")
    while len(words) > 1 and special + len(tokenizer.words(longest.format(" ".join(words)))) > backbone.context_length:
        words.pop()
    return " ".join(words)
