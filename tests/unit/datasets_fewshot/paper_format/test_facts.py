"""The stored facts against what was measured on the released files (`real_facts.json` names them)."""

import hashlib
import json
from pathlib import Path

import pytest

from adaptkit import templates_for
from datasets_fewshot import PAPER_DATASETS
from datasets_fewshot.paper_format.facts import facts, imagenet_family_wnids

REAL = json.loads((Path(__file__).parent / "real_facts.json").read_text(encoding="utf-8"))


def hash_of(names):
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


@pytest.mark.parametrize("name", PAPER_DATASETS)
def test_names_sizes_and_lists_are_those_of_the_released_files(name):
    known, real = facts(name), REAL["datasets"][name]
    assert len(known.classnames) == real["classes"]
    assert hash_of(known.classnames) == real["classnames_sha256"]
    assert [known.train, known.val, known.test] == real.get("sizes", [known.train, known.val, known.test])
    assert known.lists == real.get("list_sha256", {})
    assert list(templates_for(name)) == real["template"]


@pytest.mark.parametrize("name", ["imagenet_a", "imagenet_r"])
def test_wnids_are_those_of_the_released_code(name):
    assert hash_of(imagenet_family_wnids(name)) == REAL[f"{name}_wnids_sha256"]


def test_a_split_is_rebuilt_where_official_lists_give_the_papers_in_full():
    rebuilt = {name for name, dataset in PAPER_DATASETS.items() if dataset.rebuilt_from}
    assert rebuilt == set(REAL["rebuilt_in_full_from_official_lists"])
    assert all(facts(name).lists for name in rebuilt)
