"""What a test registers is forgotten behind it."""

import pytest

from adaptkit.contract.registry import METHODS, OBJECTIVES, WRAPPERS


def forget_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every catalogue of adaptkit a copy of its entries for the length of a test."""
    for catalogue in (METHODS, WRAPPERS, OBJECTIVES):
        monkeypatch.setattr(catalogue, "_entries", dict(catalogue._entries))
