"""Every option of every verb refuses empty words and numbers out of range, before anything is read or computed."""

import argparse
import re

import pytest

from tests.helpers.cases import for_every
from trainers.cli.command import build_parser
from trainers.cli.command import run as main

MAY_BE_ZERO = {  # options for which 0 says something, with what it says
    "--seed": "a seed like any other",
    "--seeds": "a seed like any other",
    "--workers": "no process beside the command's own decodes images",  # `bench --workers` counts processes that train
    "--skip-vision": "no block is skipped",
    "--skip-text": "no block is skipped",
    "--tokens": "the first token",
    "--held-out": "no class is held out",
    "--alpha": "the zero-shot weights",
    "--reject": "nothing is rejected",
    "--offset": "no offset",
    "--most-lost": "nothing may be lost",
    "--sigma": "no noise",
    "--hard-negatives": "groups meet others at random",
    "--threshold": "only equal vectors are linked",
    "--beta": "no guard",
    "--soft-cap": "no cap",
    "--skip-blocks": "targets of the whole tower",
    "--decoder-layers": "a linear decoder",
    "--noise": "no noise",
    "--epsilon": "the best region alone",
    "--false-rejections": "no image of a known class is rejected",
}
MAY_NOT = {
    ("compose eval", "--beta"),
    ("compose search", "--beta"),
    ("bench", "--workers"),
    ("retrieve build", "--workers"),
    ("das distill", "--skip-vision"),
}
NUMBERS = ("", " ", "-1", "nan", "1e400", "-inf", "x", "1.5.2", "99999999999999999999999999999999999999")


def verbs(parser, words=()):
    """Every verb with its parser: ("das distill", parser)."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield " ".join(words), parser
    for action in inner:
        for name, child in action.choices.items():
            yield from verbs(child, (*words, name))


def taking_values(parser):
    actions = [action for action in parser._actions if action.nargs != 0 and action.dest not in ("help", "overrides")]
    return [action for action in actions if not isinstance(action, argparse._SubParsersAction)]


OPTIONS = [
    pytest.param(verb, action, id=f"{verb} {(action.option_strings or [action.dest])[0]}")
    for verb, parser in verbs(build_parser())
    for action in taking_values(parser)
]


def refused(action, written):
    if action.choices is not None:
        return written not in action.choices
    try:
        action.type(written)
    except argparse.ArgumentTypeError as error:
        assert len(str(error)) > 20, "a refusal says what was expected"
        return True
    return False


def is_number(action):
    return action.type is not None and refused(action, "a word")


@for_every(("verb", "action"), OPTIONS)
def test_empty_words_are_refused(verb, action):
    assert action.choices is not None or action.type is not None, "an option needs a type of `trainers.cli.values`"
    assert refused(action, "")
    assert refused(action, "  ")


@for_every(("verb", "action"), OPTIONS)
def test_numbers_out_of_range_are_refused(verb, action):
    if not is_number(action):
        return
    name = (action.option_strings or [action.dest])[0]
    for written in NUMBERS[:-1]:
        if written == "-1" and name == "--offset":  # logits have any sign
            continue
        assert refused(action, written), written
    assert refused(action, "0") != (name in MAY_BE_ZERO and (verb, name) not in MAY_NOT)


@pytest.mark.parametrize("name", ["--seed", "--threads", "--processes", "--replicas", "--port", "--workers"])
def test_numbers_that_the_machine_cannot_have_are_refused(name):
    found = [option.values[1] for option in OPTIONS if name in option.values[1].option_strings]
    assert found
    for action in found:
        assert refused(action, NUMBERS[-1])


@for_every(("verb", "action"), OPTIONS)
def test_the_default_is_one_that_could_be_written(verb, action):
    default = action.default
    if default is None or action.choices is not None or default == []:
        return
    written = ",".join(map(str, default)) if isinstance(default, list) else str(default)
    assert action.type(written) == default


@pytest.mark.parametrize("device", ["mps", "meta", "cuda:1000", "cuda:x", "gpu", "CPU", "cpu:1"])
def test_what_is_no_device_is_refused_where_it_is_named(device, capsys):
    for verb, action in (option.values for option in OPTIONS):
        if "--device" in action.option_strings:
            assert refused(action, device), verb


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("train coop --data  --shots 1", "argument --data: it is empty"),
        ("train coop --data x --shots 0", "argument --shots: '0'; expected a whole number, 1 or more"),
        ("train coop --data x --shots -1", "argument --shots: '-1'; expected"),
        ("serve x --host ", "argument --host: it is empty"),
        ("serve x --port 99999", "argument --port: '99999'; expected a whole number, from 1 to 65535"),
        ("predict  photo.jpg", "argument ADAPTER: it is empty"),
        ("predict x y --topk 0", "argument --topk: '0'"),
        ("das distill --images x --steps 0", "argument --steps: '0'"),
        ("bench --threads 1000000", "argument --threads: '1000000'; expected a whole number, from 1 to 1024"),
        ("bench --shots 1,,0", "argument --shots: '0'"),
        ("bench --methods ,", "argument --methods: ',' names nothing"),
        ("bench --device meta", "argument --device: device is 'meta'; use auto"),
        ("bench --lr -1", "unrecognised: --lr"),
    ],
)
def test_a_refusal_is_one_line(words, complaint, capsys):
    try:
        code = main(words.split(" "))
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    said = capsys.readouterr()
    assert said.err.startswith("adaptkit: error: ")
    assert said.err.count("\n") == 1
    assert complaint in said.err
    assert not said.out


@pytest.mark.parametrize("value", ["-1", "-1e-3", "-.5"])
@pytest.mark.parametrize("words", ["OPTIM.LR {}", "OPTIM.EPOCHS 3 OPTIM.LR {}", "OPTIM.LR {} --seeds 1"])
def test_negative_values_of_settings_reach_their_range(words, value, capsys):
    assert main(["bench", "--methods", "coop", *words.format(value).split()]) == 2
    assert re.search(r"OPTIM.LR is '?-.*; expected more than 0", capsys.readouterr().err)
