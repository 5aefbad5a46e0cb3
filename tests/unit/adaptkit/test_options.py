"""Options that check themselves, and a plain dataclass checked by the same rules."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import pytest

from adaptkit import create_method, register_method
from adaptkit.features.zero_shot import ZeroShot
from adaptkit.options import Limits, check, declared, describe, from_plain, make, option, options, problem, words
from tests.helpers.registrations import forget_registrations


@options
class Inner:
    rate: float = option(0.5, "A rate.", least=0, below=1)


@options
class Outer:
    words: tuple[Literal["one", "two"], ...] = option(("one",), "Some words.")
    pair: tuple[int, str] = option((1, "a"), "A number with its name.")
    many: Mapping[str, float] = dataclasses.field(default_factory=dict)
    inner: Inner = option(Inner(), "The inner options.")
    limit: float | None = option(None, "A limit, which may be infinite.", least=0, most=math.inf)
    path: str = option("", "A file.", file=len)

    def __post_init__(self) -> None:
        if self.limit == 13:
            raise ValueError("limit is unlucky")


@dataclasses.dataclass(frozen=True)
class Plain:
    mode: Literal["near", "far"] = "near"
    count: int = 3


class Anything(Protocol):
    x: int


def test_options_are_frozen_and_their_own_check_comes_after():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer().path = "b"
    with pytest.raises(ValueError, match="unlucky"):
        Outer(limit=13)
    with pytest.raises(ValueError, match="limit=-1; expected"):
        Outer(limit=-1)


def test_an_infinite_end_belongs_to_the_range():
    assert Outer(limit=math.inf).limit == math.inf
    with pytest.raises(ValueError, match="rate=inf; expected a finite number"):
        Inner(rate=math.inf)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (True, int, "a whole number"),
        (1.0, int, "a whole number"),
        (False, float, "a number"),
        (10**400, float, "a number"),
        (1, bool, "true or false"),
        (True, Literal[1, 2], "one of 1, 2"),
        ("tw", Literal["one", "two"], "one of one, two; did you mean two?"),
        (("one", "tw"), tuple[Literal["one", "two"], ...], "a list, each entry one of one, two; did you mean two?"),
        ([1], tuple[int, ...], "a list, each entry a whole number, as a tuple"),
        ((1, 2), tuple[int, str], r"tuple\[int, str\]"),
        ({"a": "b"}, Mapping[str, float], "Mapping"),
        (1, str | None, "text or null"),
        ({"rate": 0.1}, Inner, "Inner"),
    ],
)
def test_what_does_not_fit_is_answered_with_what_does(value, hint, expected):
    wrong = problem(value, hint)
    assert wrong is not None
    with pytest.raises(AssertionError, match=expected):
        raise AssertionError(wrong)


@pytest.mark.parametrize(
    ("value", "hint"),
    [(1, float), (None, str | None), ((), tuple[int, ...]), ({"a": 1}, Mapping[str, float]), ({}, dict[str, int]),
     (len, Callable[[str], int]), (object(), Any), (3, Anything), (3, object), (Inner(), Inner), ([1], list[int])],
)  # fmt: skip
def test_what_fits_or_cannot_be_asked_passes(value, hint):
    assert problem(value, hint) is None


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([[1], [2]], tuple[tuple[int, ...], ...], ((1,), (2,))),
        (1, float | None, 1.0),
        (None, float | None, None),
        (True, float, True),
        ({"rate": 0}, Inner, Inner(0.0)),
        ({"rat": 0}, Inner, {"rat": 0}),
    ],
)
def test_values_of_json_become_what_is_declared(value, hint, expected):
    converted = from_plain(value, hint)
    assert converted == expected
    assert type(converted) is type(expected)


def test_limits_are_said_in_words():
    assert str(Limits(least=0, most=1)) == "0 to 1"
    assert str(Limits(least=0, below=1)) == "0 or more and below 1"
    assert str(Limits(above=0)) == "more than 0"
    assert str(Limits()) == ""


def test_a_class_of_options_is_described():
    facts = {fact.name: fact for fact in describe(Outer)}
    assert facts["inner"].default == Inner()
    assert facts["words"].takes == "a list, each entry one of one, two"
    assert describe(Inner)[0].sentences == "A rate. Takes a number, 0 or more and below 1."
    assert describe(Plain)[1].sentences == "Takes a whole number."
    assert words(int | None) == "a whole number or null"


def test_a_file_is_found_by_what_its_option_says():
    assert {entry.name: entry.metadata.get("file") for entry in dataclasses.fields(Outer)}["path"] is len


def test_a_plain_dataclass_is_checked_by_its_annotations():
    assert make(Plain, {"count": 4}) == Plain(count=4)
    with pytest.raises(ValueError, match="mode='nea'; expected one of near, far; did you mean near"):
        check(Plain, {"mode": "nea"})


def test_an_annotation_that_cannot_be_found_is_named():
    @dataclasses.dataclass(frozen=True)
    class Lost:
        x: "Nowhere" = None  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(TypeError, match=r"annotations of Lost cannot be read .*Nowhere"):
        declared(Lost)


def test_create_method_checks_a_plugin_s_plain_options(tiny_clip, monkeypatch):
    forget_registrations(monkeypatch)
    register_method("plainly_zero_shot", Plain)(type("PlainlyZeroShot", (ZeroShot,), {}))
    for given in ({"mode": "farr"}, {"config": Plain(mode="farr")}):
        with pytest.raises(ValueError, match=r"plainly_zero_shot: mode='farr'; .* did you mean far"):
            create_method("plainly_zero_shot", tiny_clip, ["cat"], **given)
    with pytest.raises(ValueError, match="plainly_zero_shot: count=True; expected a whole number"):
        create_method("plainly_zero_shot", tiny_clip, ["cat"], count=True)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("clip_adapter", {"last": "tanh"}, "clip_adapter: last='tanh'; expected one of relu, linear"),
        ("clip_lora", {"encoder": "txt"}, "clip_lora: encoder='txt'; .*did you mean text"),
        ("coop", {"n_ctx": "4"}, "coop: n_ctx='4'; expected a whole number"),
        ("coop", {"wrap": [("das", {"a": 1})]}, "das takes its options as DASConfig"),
    ],
)
def test_create_method_names_method_option_value_and_words(tiny_clip, method, given, message):
    with pytest.raises(ValueError, match=message):
        create_method(method, tiny_clip, ["cat"], **given)


@pytest.mark.parametrize("wrong", ["1", True, 10**400])
def test_one_wrong_value_in_a_long_list_is_found(wrong):
    hint = tuple[float | None, ...]
    values = from_plain([*[0.5] * 1000, None, wrong, *[0.5] * 1000], hint)
    assert str(problem(values, hint)).startswith("expected a list, each entry a number")


def test_a_whole_number_in_a_long_list_becomes_a_float():
    values = from_plain([*[0.5] * 1000, None, 1], tuple[float | None, ...])
    assert values[-1] == 1.0
    assert type(values[-1]) is float
