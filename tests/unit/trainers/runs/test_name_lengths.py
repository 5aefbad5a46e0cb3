from pathlib import Path

import pytest

from adaptkit import load_backbone
from datasets_fewshot import FewShotDataset, Item, Split
from datasets_fewshot.paper_format.facts import facts
from trainers.config.load import load_bench
from trainers.protocols.task import Sources
from trainers.runs.name_lengths import fitting_words, shorten_names

ROADSTER = "2009 Bugatti Veyron 16.4 Convertible"


@pytest.fixture(scope="module")
def mini():
    """Its text tower has 24 positions."""
    return load_backbone("adaptkit-mini")


@pytest.fixture(scope="module")
def config():
    return load_bench(overrides=["SUITE", "paper", "DATASETS", "[stanford_cars]", "DATA.ROOT", "/data"])


def sources_of(*names: str) -> Sources:
    items = tuple(Item(f"{label}.jpg", label, name) for label, name in enumerate(names))
    dataset = FewShotDataset("stanford_cars", Path(), Split(items, (), items[:1]), notes=("fallback split",))
    return Sources({"stanford_cars": dataset}, {"stanford_cars": {"elsewhere": dataset}})


def test_names_that_fit_are_left_alone(mini, config):
    sources = sources_of("2012 Acura RL Sedan", "crème_brûlée")
    assert shorten_names(sources, config, mini) == sources


def test_a_name_that_is_too_long_keeps_its_first_words_and_the_data_set_says_so(mini, config):
    fitted = shorten_names(sources_of(ROADSTER, "crème_brûlée"), config, mini)
    for dataset in (fitted.datasets["stanford_cars"], fitted.targets["stanford_cars"]["elsewhere"]):
        assert dataset.classnames == ("2009 Bugatti Veyron 16.4", "crème_brûlée")
        assert dataset.split.test[0].classname == "2009 Bugatti Veyron 16.4"
        assert dataset.notes[0] == "fallback split"
        assert "1 class names do not fit into the 24 positions" in dataset.notes[1]
        assert ROADSTER in dataset.notes[1]


def test_a_longer_template_leaves_fewer_words(mini):
    short, long = (fitting_words(ROADSTER, [template], mini) for template in ("{}.", "a blurry photo of a {}, a car."))
    assert ROADSTER.startswith(short)
    assert short.startswith(long + " ")


def test_one_word_stays_whatever_its_length(mini):
    word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
    assert fitting_words(word, [], mini) == word


def test_five_of_stanford_cars_names_are_too_long_for_the_embedded_model(mini):
    names = facts("stanford_cars").classnames
    cut = [name for name in names if fitting_words(name, [], mini) != name]
    assert len(cut) == 5
