"""Recipes of the published tables, at training and at test time, fit the options that exist, and their files agree."""

import re
from importlib import resources
from pathlib import Path

import pytest
import yaml

from trainers.config.load import load_bench
from trainers.protocols.registry import list_protocols

FOLDER = Path(str(resources.files("configs"))) / "paper"
METHODS = (
    *("coop", "cocoop", "kgcoop", "prograd", "vpt", "ivlp", "maple", "promptsrc", "tcp", "mma", "mmrl", "promptkd"),
    *("tpt", "zero", "mta", "transclip"),
)
RECIPES = sorted(path.stem for method in METHODS for path in FOLDER.glob(f"{method}_*.yaml"))


def content(recipe):
    return yaml.safe_load((FOLDER / f"{recipe}.yaml").read_text())


def runs(recipe):
    """Of the recipe's own protocol, or of any where there is none of that name yet."""
    protocol = [] if content(recipe)["PROTOCOL"] in list_protocols() else ["PROTOCOL", "few_shot"]
    return load_bench(FOLDER / f"{recipe}.yaml", protocol).runs


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_named_after_its_method_and_protocol(recipe):
    settings = content(recipe)
    assert recipe == f"{settings['METHODS'][0]}_{settings['PROTOCOL']}"
    assert {run.method for run in runs(recipe)} == set(settings["METHODS"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_states_every_option_of_its_method(recipe):
    options = runs(recipe)[0].options
    assert set(content(recipe)[content(recipe)["METHODS"][0].upper()]) == {name.upper() for name in vars(options)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_opens_with_its_source_and_its_command(recipe):
    text = (FOLDER / f"{recipe}.yaml").read_text()
    assert re.match(r"# .*(arXiv:\d{4}\.\d{5}|CVPR \d{4})", text)
    assert f"--config configs/paper/{recipe}.yaml" in text


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if content(recipe)["PROTOCOL"] in list_protocols()])
def test_a_method_s_own_file_says_the_same(recipe):
    tuned = ("MMRL.REG_WEIGHT", "MMRL.WIDTH") if recipe in ("mmrl_base_to_novel", "mmrl_few_shot") else ()
    departures = {departure for run in runs(recipe) for departure in run.departures}
    assert {departure for departure in departures if not departure.startswith(tuned)} == set()


def options_by_dataset(recipe, shots):
    return {run.dataset: run for run in runs(recipe) if run.shots == shots}


def test_prograd_has_its_own_templates_and_yields_less_on_three_data_sets():
    by_dataset = options_by_dataset("prograd_few_shot", 16)
    assert by_dataset["food101"].options.template == "a type of food, a photo of {}."
    assert by_dataset["caltech101"].options.template == ""
    softer = {name for name, run in by_dataset.items() if run.options.strength == 0.8}
    assert softer == {"oxford_flowers", "dtd", "eurosat"}
    assert {run.options.strength for run in options_by_dataset("prograd_few_shot", 4).values()} == {1.0}


def test_epochs_grow_with_the_shots_but_on_imagenet():
    assert {run.optim.epochs for run in options_by_dataset("coop_few_shot", 1).values()} == {50}
    by_dataset = options_by_dataset("coop_few_shot", 16)
    assert (by_dataset["dtd"].optim.epochs, by_dataset["imagenet"].optim.epochs) == (200, 50)


def test_promptsrc_averages_later_on_five_data_sets():
    by_dataset = options_by_dataset("promptsrc_few_shot", 16)
    late = {name for name, run in by_dataset.items() if run.options.average_mean == 45}
    assert late == {"stanford_cars", "oxford_flowers", "fgvc_aircraft", "dtd", "eurosat"}


def test_tcp_has_adam_with_a_large_epsilon_and_half_the_epochs_on_two_data_sets():
    by_dataset = options_by_dataset("tcp_base_to_novel", 16)
    assert {(run.optim.name, run.optim.adam_eps, run.optim.weight_decay) for run in by_dataset.values()} == {
        ("adam", 1e-3, 5e-4)
    }
    assert {name for name, run in by_dataset.items() if run.optim.epochs == 25} == {"sun397", "imagenet"}
    assert {run.optim.epochs for run in by_dataset.values()} == {25, 50}


def test_tcp_learns_in_other_templates_than_it_is_held_near():
    by_dataset = options_by_dataset("tcp_base_to_novel", 16)
    assert by_dataset["stanford_cars"].options.template == "X X X X {}, a type of car"  # no full stop, as released
    assert by_dataset["ucf101"].options.template == "a photo of a person doing {}."
    assert by_dataset["oxford_pets"].options.template == ""
    held_near = {name: run.options.clip_templates for name, run in by_dataset.items() if run.options.clip_templates}
    assert held_near == {
        "dtd": ("a photo of a {}, a type of texture.",),
        "fgvc_aircraft": ("a photo of an aircraft {}.",),
    }


def test_mmrl_is_held_with_one_weight_unless_the_paper_s_recipe_is_asked_for():
    asked = ["PROTOCOL", "few_shot", "METHODS", "[mmrl]", "SUITE", "paper"]
    assert {run.options.reg_weight for run in load_bench(None, asked).runs} == {3.0}
    published = load_bench(None, [*asked, "RECIPE", "paper", "SHOTS", "[16]"]).runs
    assert {run.departures for run in published} == {()}
    weights = {run.dataset: run.options.reg_weight for run in published}
    assert weights == {run.dataset: run.options.reg_weight for run in runs("mmrl_base_to_novel")}
    assert (min(weights.values()), max(weights.values()), weights["oxford_pets"]) == (0.01, 7.0, 0.2)
    assert {run.dataset for run in published if run.options.width == 2048} == {"eurosat"}


def test_mmrl_learns_longer_from_few_shots_and_not_at_all_slowly_in_its_one_epoch_of_imagenet():
    by_dataset = options_by_dataset("mmrl_few_shot", 16)
    assert (by_dataset["dtd"].optim.epochs, by_dataset["imagenet"].optim.epochs) == (50, 5)
    novel = options_by_dataset("mmrl_base_to_novel", 16)
    assert {(run.optim.epochs, run.optim.batch_size) for run in novel.values()} == {(10, 4), (5, 32)}
    (imagenet,) = {run.optim for run in runs("mmrl_cross_dataset")}
    assert (imagenet.epochs, imagenet.warmup_epochs) == (1, 0)


def test_tcp_learns_from_all_classes_as_it_does_from_base_classes():
    of_base, of_all = (options_by_dataset(f"tcp_{name}", 16) for name in ("base_to_novel", "few_shot"))
    assert {name: (run.options, run.optim) for name, run in of_all.items()} == {
        name: (run.options, run.optim) for name, run in of_base.items()
    }
    (imagenet,) = {(run.options, run.optim) for run in runs("tcp_cross_dataset")}
    assert imagenet == (of_base["imagenet"].options, of_base["imagenet"].optim)


def test_tpt_has_augmix_for_the_ten_data_sets_beside_imagenet():
    augmix = {run.dataset for run in runs("tpt_few_shot") if run.options.augmix}
    assert augmix == {run.dataset for run in runs("tpt_few_shot")} - {"imagenet"}
    assert {run.options.augmix for run in runs("tpt_domain_generalization")} == {False}
