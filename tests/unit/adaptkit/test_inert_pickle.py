"""A pickle as data: what it says is there, what it asks for does not happen, and it costs what its bytes cost."""

import argparse
import collections
import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from adaptkit import inert_pickle
from adaptkit.inert_pickle import Inert, InertPickleError, Name, load_inert

PLAIN = {"a": [1, 2.5, None, True, "x", (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ()], 3: {1.5: False}, "n": -(10**30)}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_out_as_they_are(protocol):
    shared = ["twice"]
    content = {**PLAIN, "shared": [shared, shared], "é\n": "ü"}
    read = load_inert(pickle.dumps(content, protocol))
    assert read == content
    assert read["shared"][0] is read["shared"][1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_objects_are_inert_and_keep_what_the_file_says_of_them(protocol):
    content = [argparse.Namespace(lr=0.1), np.float64(3), collections.OrderedDict(a=1), {1, 2}, np.ones(3), int, len]
    read = load_inert(pickle.dumps(content, protocol))
    assert isinstance(read[0], Inert)
    assert read[0].state == {"lr": 0.1}
    assert read[-1].name == "len"


def text(word: str) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


def doubled(times: int) -> bytes:
    """A tuple of itself, many times: small in memory, endless to walk."""
    return b")" + b"2\x86" * times


BOMBS = {
    "a memo place of a thousand million": b"\x80\x02Nr\xff\xff\xff\x3f.",
    "a memo place of a thousand million, as text": b"Np999999999\n.",
    "bytes that are not there": b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b".",
    "a text that is not there": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b".",
    "a byte array that is not there": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
    "a number that is not there": b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b".",
    "a number of negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "a frame that is not there": b"\x80\x04\x95" + (2**60).to_bytes(8, "little") + b"N",
    "a key that is endless to hash": b"\x80\x02}" + doubled(200) + b"Ns.",
    "a set whose member is endless to hash": b"\x80\x04\x8f(" + doubled(200) + b"\x90.",
    "a frozen set whose member is endless to hash": b"\x80\x04(" + doubled(200) + b"\x91.",
    "lists in lists": b"\x80\x02" + b"]" * 30_000 + b"a" * 29_999 + b".",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 30_000 + b".",
    "marks without an end": b"(" * 30_000,
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "decimals without an end": b"L" + b"9" * 30_000 + b"L\n.",
    "an extension": b"\x80\x02\x82\xf0.",
    "a buffer from outside": b"\x80\x05\x97.",
    "an object from outside": b"\x80\x02NQ.",
    "nothing": b"",
    "no end": b"\x80\x04N",
    "an empty stack": b"\x80\x04.",
    "a pop of nothing": b"0.",
    "a memo that is empty": b"\x80\x02h\x07.",
    "append to a number": b"\x80\x02K\x01K\x01a.",
    "an item of a tuple": b"\x80\x02)K\x01K\x01s.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "a call without arguments": b"\x80\x02cos\nsystem\nNR.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_costs_no_more_than_its_bytes(name):
    tracemalloc.start()
    try:
        load_inert(BOMBS[name])
    except InertPickleError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_operations_are_counted(monkeypatch):
    monkeypatch.setattr(inert_pickle, "MAX_OPERATIONS", 1000)
    with pytest.raises(InertPickleError, match="more than 1000 operations"):
        load_inert(b"\x80\x02" + b"N0" * 1000 + b"N.")


@pytest.mark.parametrize(
    "target", ["adaptkit.inert_pickle\nload_inert", "builtins\ndict", "adaptkit.options\noptions", "os\nsystem"]
)
def test_no_state_is_given_to_what_a_file_names(target):
    before = copy.copy(vars(load_inert))
    spoil = b"\x80\x02c" + target.encode() + b"\n}" + text("__defaults__") + b"Nsb."
    with pytest.raises(InertPickleError, match="changes"):
        load_inert(spoil, lambda module, name: getattr(inert_pickle, name, None))
    slots = b"\x80\x02c" + target.encode() + b"\nN}" + text("__name__") + text("x") + b"s\x86b."
    with pytest.raises(InertPickleError, match="changes"):
        load_inert(slots)
    assert vars(load_inert) == before
    assert load_inert.__name__ == "load_inert"


def test_attributes_of_containers_are_left_out():
    assert load_inert(b"\x80\x02}}" + text("_metadata") + b"Nsb.") == {}


def test_only_what_is_lent_is_called():
    def lend(module: str, name: str):
        return sum if (module, name) == ("builtins", "sum") else None

    content = b"\x80\x02cbuiltins\nsum\n(K\x01K\x02l\x85Rcbuiltins\nmax\n(K\x01K\x02l\x85R\x86."
    lent, inert = load_inert(content, lend)
    assert lent == 3
    assert inert.kind == Name("builtins", "max")
