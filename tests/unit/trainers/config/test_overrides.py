"""Settings of Python keep their types; words of a user are read as YAML, once."""

import pytest

from trainers.config.load import load_bench
from trainers.config.overrides import nested, words_as_settings
from trainers.config.values import ConfigError

FIXED = {"METHODS": ["zero_shot"], "DATASETS": ["emoji_food"], "SEEDS": [1]}


@pytest.mark.parametrize("text", ["007", "None", "1e-5", "[a]", "it's", 'two "words"', "a: b"])
def test_text_of_python_stays_text_whatever_it_looks_like(text):
    assert load_bench(settings={**FIXED, "DATA.ROOT": text}).data.root == text


def test_words_of_a_user_lie_over_values_of_python():
    config = load_bench(None, ["OPTIM.EPOCHS", "7"], {**FIXED, "METHODS": ["coop"], "OPTIM.EPOCHS": 3, "OPTIM.LR": 0.5})
    assert (config.runs[0].optim.epochs, config.runs[0].optim.lr) == (7, 0.5)


def test_words_are_read_as_yaml():
    words = ["OPTIM.LR", "0.1", "SHOTS", "[1, 2]", "DATA.ROOT", "null"]
    assert words_as_settings(words) == {"OPTIM.LR": 0.1, "SHOTS": [1, 2], "DATA.ROOT": None}
    with pytest.raises(ConfigError, match=r"'OPTIM\.LR' has no value"):
        words_as_settings(["OPTIM.LR"])
    with pytest.raises(ConfigError, match=r"SHOTS is '\[1', which is not YAML"):
        words_as_settings(["SHOTS", "[1"])


def test_a_section_is_set_as_a_whole_or_by_its_keys():
    assert nested({"OPTIM.LR": 0.1, "SHOTS": [1]}) == {"OPTIM": {"LR": 0.1}, "SHOTS": [1]}
    with pytest.raises(ConfigError, match=r"OPTIM is set as a whole and as OPTIM\.LR"):
        nested({"OPTIM": 3, "OPTIM.LR": 0.1})


@pytest.mark.parametrize("key", ["DATA.ROOT", "BACKBONE.CHECKPOINT", "DEVICE", "DATA.TEMPLATES", "METHODS"])
@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_word_is_no_null(key, text):
    with pytest.raises(ConfigError, match=rf"{key} is '{text}' on the command line; expected text that is not empty"):
        load_bench(overrides=[key, text])


def test_an_empty_word_may_be_a_text():
    assert load_bench(overrides=["LAUNCH.ADDRESS", ""]).launch.address == ""
