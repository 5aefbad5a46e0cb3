"""A single training on own images: defaults by size, checks before any work, and what the summary tells."""

import dataclasses

import numpy as np
import pytest

from adaptkit import ClassSet, FitResult, list_methods, load_backbone, method_class
from datasets_fewshot import Item, Split
from datasets_fewshot.own.usable import check_usable
from tests.helpers.fitting import asked
from tests.helpers.synthetic import synthetic_dataset
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.fit.checks import check_names
from trainers.fit.defaults import MAX_STEPS, MIN_STEPS, default_shots, embedded_settings, size_settings
from trainers.fit.main import fit
from trainers.fit.report import confusions, worst_images


def recipe(method: str, *overrides: str) -> RunConfig:
    words = ["PROTOCOL", "few_shot", "SHOTS", "[16]", "SEEDS", "[1]", "METHODS", f"[{method}]"]
    return load_bench(None, ["DATA.OWN", "[somewhere]", *words, *overrides]).runs[0]


@pytest.mark.parametrize(("counts", "shots"), [([50, 60], 16), ([3, 20, 20], 16), ([3, 5, 20], 4), ([1, 1], 1)])
def test_shots_follow_from_what_half_of_the_classes_have(counts, shots):
    assert default_shots(counts) == shots


def test_a_recipe_of_a_sensible_length_is_left_alone():
    assert size_settings(recipe("coop", "VIEWS.AUGMENT", "none"), images=160, consumes="features") == {}


def test_few_images_get_more_epochs_and_many_get_fewer():
    assert size_settings(recipe("maple", "OPTIM.EPOCHS", "5"), 8, "images") == {"OPTIM.EPOCHS": 50}
    assert size_settings(recipe("maple"), 1600, "images")["OPTIM.EPOCHS"] == 2


def test_a_recipe_in_steps_is_cut():
    assert size_settings(recipe("clip_lora"), 1600, "images") == {"OPTIM.STEPS": MAX_STEPS["images"]}


def test_random_views_are_a_pool_where_there_are_many_images():
    settings = size_settings(recipe("coop"), 160, "features")
    assert (settings["VIEWS.AUGMENT"], settings["VIEWS.N_VIEWS"]) == ("pool", 31)
    assert size_settings(recipe("coop"), 4000, "features")["VIEWS.AUGMENT"] == "none"


def test_options_that_count_epochs_go_with_them():
    run = recipe("promptsrc", "OPTIM.EPOCHS", "100", "PROMPTSRC.AVERAGE_MEAN", "60")
    settings = size_settings(run, 400, "images")
    assert settings["OPTIM.EPOCHS"] == 10
    assert settings["PROMPTSRC.AVERAGE_MEAN"] == pytest.approx(6)


@pytest.mark.parametrize("method", list_methods())
@pytest.mark.parametrize("images", [2, 64, 5000])
def test_every_recipe_ends_within_bounds(method, images):
    run = recipe(method)
    consumes = getattr(method_class(method), "consumes", "tokens")  # of some it depends on their options
    settings = size_settings(run, images, consumes)
    optim = dataclasses.replace(
        run.optim,
        epochs=settings.get("OPTIM.EPOCHS", run.optim.epochs),
        steps=settings.get("OPTIM.STEPS", run.optim.steps),
    )
    batches = max(1, images // optim.batch_size)
    steps = optim.step_count(batches)
    assert steps == 0 or MIN_STEPS <= steps <= max(MAX_STEPS[consumes], batches)


def test_the_embedded_backbone_has_settings_of_its_own():
    of_the_suite = load_bench(overrides=["METHODS", "[coop]", "DATASETS", "[icons]"]).runs[0]
    assert of_the_suite.shots == 16
    assert embedded_settings("coop") == {
        "VIEWS.AUGMENT": "none",
        "OPTIM.LR": of_the_suite.optim.lr,
        "OPTIM.EPOCHS": 50,
        "OPTIM.BATCH_SIZE": 128,
        "COOP.N_CTX": 4,
    }
    of_few = load_bench(overrides=["METHODS", "[coop]", "DATASETS", "[emoji_food]"]).runs[0]
    assert of_few.shots == 4
    assert of_few.optim.lr < of_the_suite.optim.lr  # emoji alone are tested on drawings of another family
    assert embedded_settings("vpt")["OPTIM.EPOCHS"] == 5  # as of all methods that take images
    assert embedded_settings("zero_shot") == {"VIEWS.AUGMENT": "none"}


def test_sound_images_pass_with_a_word_on_few_of_them(tmp_path):
    assert check_usable(synthetic_dataset(tmp_path, test=10)) == ()
    assert check_usable(synthetic_dataset(tmp_path, test=3)) == (
        "12 test images are few: mind the interval behind the accuracy",
    )


def test_classes_without_images_are_named(tmp_path):
    dataset = synthetic_dataset(tmp_path, test=10)
    split = Split(
        tuple(item for item in dataset.split.train if item.label != 1),
        (),
        tuple(item for item in dataset.split.test if item.label != 2),
    )
    notes = check_usable(dataclasses.replace(dataset, split=split))
    assert notes[0].startswith("no training image of 'green_tea'")
    assert notes[1].startswith("no test image of 'blue whale'")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split((Item("a.png", 0, "cat"),), (), (Item("b.png", 0, "cat"),)), "one class only, 'cat'"),
        (Split((), (), (Item("a.png", 0, "cat"), Item("b.png", 1, "dog"))), "no training images"),
        (Split((Item("a.png", 0, "cat"), Item("b.png", 1, "dog")), (), ()), "no test images.*add a test part"),
    ],
)
def test_data_that_cannot_be_learnt_are_refused(tmp_path, split, message):
    with pytest.raises(ValueError, match=message):
        check_usable(dataclasses.replace(synthetic_dataset(tmp_path), split=split))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"data": ""}, "data='' is empty"),
        ({"out": " "}, "out=' ' is empty"),
        ({"classnames": ""}, "classnames='' is empty"),
        ({"split": ""}, "split='' is empty"),
        ({"checkpoint": ""}, "checkpoint='' is empty"),
        ({"device": "meta"}, "device is 'meta'; use auto"),
        ({"shots": 0}, "shots=0; expected 1 or more"),
        ({"shots": -3}, "shots=-3; expected 1 or more"),
    ],
    ids=str,
)
def test_empty_words_and_numbers_below_one_are_refused_before_data_are_read(wrong, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        fit(asked("coop", **{"data": "nowhere", **wrong}))
    assert not list(tmp_path.iterdir())


def test_names_that_do_not_fit_are_listed():
    backbone = load_backbone("adaptkit-mini")
    check_names(ClassSet(["cat", "dog"]), backbone)
    name = "a very " * 12 + "long name"
    with pytest.raises(ValueError, match=r"1 class names are too long for the 24 positions.*'a very .*classnames\.txt"):
        check_names(ClassSet(["cat", name]), backbone)


LOGITS = np.array([[9.0, 0, 0], [9, 1, 0], [9, 0, 0], [0, 2, 1], [0, 0, 3]])
LABELS = np.array([0, 1, 1, 2, 2])


def test_confusions_come_by_frequency():
    found = [(c.true, c.taken_for, c.images) for c in confusions(LOGITS, LABELS, ["cat", "dog", "fox"])]
    assert found == [("dog", "cat", 2), ("fox", "dog", 1)]


def test_the_worst_image_is_the_surest_mistake():
    assert worst_images(LOGITS, LABELS) == [2, 1, 3]


def test_a_summary_compares_with_zero_shot(tiny_clip, tmp_path):
    found = confusions(LOGITS, LABELS, ["cat", "dog", "fox"])
    result = FitResult(None, tmp_path, 4, 5, 40.0, (11.8, 76.9), 20.0, found, (), ("a note",))
    text = result.summary()
    assert "accuracy 40.0 % (95 %: 11.8 to 76.9) of 5 test images, +20.0 against zero-shot (20.0 %)" in text
    assert "dog taken for cat: 2" in text
    assert "note: a note" in text
