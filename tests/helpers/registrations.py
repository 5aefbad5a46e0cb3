"""Undo the registrations that a test makes."""

import pytest

from adaptkit import list_methods
from adaptkit.contract.registry import HEADS, METHODS, OBJECTIVES, WRAPPERS
from adaptkit.contract.test_time import TEST_TIME


def forget_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the entries of every catalogue of adaptkit by a copy for the length of a test."""
    list_methods()  # registers adaptkit's own; in the copy alone they would be forgotten with it
    for catalogue in (METHODS, WRAPPERS, OBJECTIVES, HEADS, TEST_TIME):
        monkeypatch.setattr(catalogue, "_entries", dict(catalogue._entries))
