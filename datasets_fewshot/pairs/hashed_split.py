"""The part of a group, from nothing but the group's name: images that join later move none of the others."""

import hashlib

from datasets_fewshot.own.found import Part

TRAIN, VAL = 0.8, 0.1  # shares of the groups; the rest is for testing
HASHED = "parts drawn by the hash of each group: 80 % for training, 10 % for validation, 10 % for testing"


def part_of(group: str) -> Part:
    """The part that all images of a group belong to, the same on every machine and in every order."""
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64  # in [0, 1)
    if place < TRAIN:
        return "train"
    return "val" if place < TRAIN + VAL else "test"
