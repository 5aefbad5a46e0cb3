"""Let a fake tree be what the papers used."""

import random
from pathlib import Path

import pytest

from datasets_fewshot import PAPER_DATASETS, Split, items_hash
from datasets_fewshot.paper_format import facts as facts_module
from datasets_fewshot.paper_format.fallback import FALLBACK_SEED
from datasets_fewshot.paper_format.layouts import find_places


def built_by_the_rule(name: str, root: Path) -> Split:
    """The split that the papers' rule gives for the tree below the root."""
    dataset = PAPER_DATASETS[name]
    assert dataset.fallback is not None
    return dataset.fallback(find_places(root, dataset.layouts)[0], random.Random(FALLBACK_SEED))


def publish(monkeypatch: pytest.MonkeyPatch, name: str, split: Split) -> None:
    """Store a split's sizes and hashes as those of the papers, until the test ends."""
    parts = dict(zip(("train", "val", "test"), split, strict=True))
    row = dict(facts_module._all_facts()[name])
    row |= {part: len(items) for part, items in parts.items()}
    row |= {"lists": {part: items_hash(items) for part, items in parts.items()}, "draws": {}}
    rows = {**facts_module._all_facts(), name: row}
    monkeypatch.setattr(facts_module, "_all_facts", lambda: rows)
    monkeypatch.setattr(facts_module, "facts", facts_module.facts.__wrapped__)
    for module in ("paper_format.built_split", "paper_format.paper_dataset", "upkeep.doctor"):
        monkeypatch.setattr(f"datasets_fewshot.{module}.facts", facts_module.facts)
