"""Undo the registrations that a test makes."""

import pytest

from adaptkit.contract.registry import METHODS, OBJECTIVES, WRAPPERS


def forget_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the entries of every catalogue of adaptkit by a copy for the length of a test."""
    for catalogue in (METHODS, WRAPPERS, OBJECTIVES):
        monkeypatch.setattr(catalogue, "_entries", dict(catalogue._entries))
