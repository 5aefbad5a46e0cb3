"""Verdicts of measured claims by one rule: a gain counts where it is more than two standard errors above zero."""

from benchmarks.seed_systems.findings import Value, Verdict

ENOUGH = 2.0  # standard errors


def beats(gain: Value) -> bool:
    """Whether a gain is more than two standard errors above 0."""
    return gain.error is not None and gain.value > ENOUGH * gain.error


def loses(gain: Value) -> bool:
    """Whether a gain is more than two standard errors below 0."""
    return gain.error is not None and gain.value < -ENOUGH * gain.error


def verdict(*held: bool) -> Verdict:
    """The verdict of a claim with these parts."""
    return "carries over" if all(held) else "in part" if any(held) else "does not"


def sentence(gain: Value, what: str) -> str:
    """What a gain says, in a sentence."""
    where = "above zero by more than" if beats(gain) else "below zero by more than" if loses(gain) else "within"
    end = "two standard errors" + (" of zero" if where == "within" else "")
    return f"{what[0].upper()}{what[1:]}: {gain.text}, {where} {end}."
