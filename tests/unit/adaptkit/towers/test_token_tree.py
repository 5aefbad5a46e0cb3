"""The tree's indices: who sees whom, where each class ends, and how few tokens there are."""

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.layers.context import prompt_tokens
from adaptkit.towers.token_tree import PromptTokens, build_tree, pack_rows
from tests.helpers.models import build

EOS = 9


def prompts_of(sequences):
    length = max(map(len, sequences)) + 2
    ids = torch.tensor([[*sequence, *[0] * (length - len(sequence))] for sequence in sequences])
    return PromptTokens(ids, torch.full_like(ids, -1), torch.tensor([len(sequence) - 1 for sequence in sequences]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=9), min_size=1, max_size=12), st.integers(4, 12))
def test_the_visible_tokens_of_each_end_spell_its_prompt(sequences, row_length):
    sequences = [[*sequence, EOS] for sequence in sequences]
    tree = build_tree(prompts_of(sequences), row_length)
    for sequence, place in zip(sequences, tree.end_of_class.tolist(), strict=True):
        row, column = divmod(place, tree.ends.shape[1])
        first = tree.trunk_length + row * tree.row_length
        numbers = [*range(tree.trunk_length), *range(first, first + tree.row_length)]
        seen = [number for number, visible in zip(numbers, tree.end_mask[row, column].tolist(), strict=True) if visible]
        seen.sort(key=lambda number: int(tree.positions[number]))
        assert [int(tree.ids[number]) for number in seen] == sequence
        assert int(tree.positions[tree.ends[row, column]]) == len(sequence) - 1


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(8, 64))
def test_rows_hold_every_branch_once(lengths, row_length):
    rows = pack_rows(lengths, row_length)
    assert sorted(branch for row in rows for branch in row) == list(range(len(lengths)))


def test_every_token_sees_something():
    tree = build_tree(prompts_of([[5, 1, EOS], [6, 1, 2, EOS]]))
    assert tree.mask.any(dim=-1).all()


def test_equal_prompts_share_a_branch():
    tree = build_tree(prompts_of([[5, 1, EOS], [5, 3, EOS], [5, 1, EOS]]))
    assert tree.end_of_class[0] == tree.end_of_class[2] != tree.end_of_class[1]


def test_names_that_begin_alike_share_their_beginning():
    tree = build_tree(prompts_of([[5, 1, 2, EOS], [5, 1, 3, EOS], [5, 4, EOS]]))
    assert tree.trunk_length == 1
    assert tree.n_tokens == 1 + len([1, 2, EOS, 3, EOS, 4, EOS])


def test_imagenet_takes_few_positions():
    prompts = prompt_tokens(build("clip_vit"), open_clip.IMAGENET_CLASSNAMES, 16, "end", False)
    tree = build_tree(prompts)
    assert tree.trunk_length == 17
    assert tree.n_tokens < 4_171  # what separate branches would take; 4,003 stand behind the trunk, and some padding


def test_no_prompt_is_an_error():
    empty = torch.zeros(0, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match="at least one class"):
        build_tree(PromptTokens(empty, empty, empty[:, 0]))
