"""The prompts of all classes packed into one token tree: a shared trunk and one branch per class.

In a causal text tower a position depends only on itself and the positions before it. So what stands in front of every
class name ([SOS], learnt context, fixed words) is computed once, as the trunk, and the rest of each prompt hangs on it
as a branch. Branches lie side by side in rows of about `ROW_LENGTH` tokens; every token keeps the position it has in
its own prompt, and sees the trunk and its own branch up to itself. 1,000 ImageNet prompts of 77 positions become
4,171 tokens, and the result is the same in exact arithmetic. Nothing here knows a tower: these are indices only.

Letters: C classes, L prompt tokens, P trunk tokens, R rows, W tokens in the longest row, E branches in the fullest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROW_LENGTH = 64  # attention is quadratic in a row, and short rows waste products on padding: about 60 is the optimum


@dataclass(frozen=True)
class PromptTokens:
    """Prompts of C classes, token by token.

    A position holds either a fixed token (its id) or a learnt one (its slot, counted over all learnt tokens).

    Args:
        ids: (C, L) int64 token ids; arbitrary after the end of a prompt and where a learnt token stands.
        slots: (C, L) int64, number of the learnt token that stands there, or -1 for the fixed token in `ids`.
        ends: (C,) int64, position of [EOS], the token whose output is the text feature.
        start: position behind [SOS], 0 for a tokenizer without one; deep prompts stand from there on.
    """

    ids: Tensor
    slots: Tensor
    ends: Tensor
    start: int = 1

    @property
    def n_slots(self) -> int:
        """How many learnt tokens there are."""
        return int(self.slots.max()) + 1 if self.slots.numel() else 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TokenTree:
    """Where every token of the packed prompts stands. Tokens are numbered: the P of the trunk, then R * W of the rows.

    Args:
        ids: (P + R * W,) token ids; padding repeats the id 0.
        slots: (P + R * W,) learnt token that stands there, or -1.
        positions: (P + R * W,) position in the token's own prompt.
        trunk_length: P.
        row_length: W.
        mask: (R, W, P + W) bool, True where a token of a row may see a token of the trunk or of its row.
        ends: (R, E) number of the [EOS] of each branch of each row; rows with fewer branches repeat their last.
        end_mask: (R, E, P + W) bool, the rows of `mask` that belong to `ends`.
        end_of_class: (C,) index into the R * E ends; classes with equal prompts share one.
    """

    ids: Tensor
    slots: Tensor
    positions: Tensor
    trunk_length: int
    row_length: int
    mask: Tensor
    ends: Tensor
    end_mask: Tensor
    end_of_class: Tensor

    @property
    def n_rows(self) -> int:
        return len(self.mask)

    @property
    def n_tokens(self) -> int:
        return len(self.ids)


def build_tree(prompts: PromptTokens, row_length: int = ROW_LENGTH) -> TokenTree:
    """Pack prompts into a tree; exact for causal towers only.

    Raises:
        ValueError: if there is no prompt.
    """
    if len(prompts) == 0:
        raise ValueError("no classes: give at least one class name")
    sequences = [
        [(int(token), int(slot), position) for position, (token, slot) in enumerate(zip(ids, slots, strict=True))]
        for ids, slots in (
            # a learnt token has no id of its own, so equal slots compare equal whatever placeholder stands in `ids`
            (torch.where(slots >= 0, 0, ids)[: end + 1].tolist(), slots[: end + 1].tolist())
            for ids, slots, end in zip(prompts.ids, prompts.slots, prompts.ends.tolist(), strict=True)
        )
    ]
    trunk_length = _shared_prefix_length(sequences)
    trunk = sequences[0][:trunk_length]
    branches = [tuple(sequence[trunk_length:]) for sequence in sequences]
    unique = list(dict.fromkeys(branches))
    rows = pack_rows([len(branch) for branch in unique], row_length)
    number = {branch: index for index, branch in enumerate(unique)}
    return _lay_out(trunk, unique, rows, branch_of_class=[number[branch] for branch in branches])


def _shared_prefix_length(sequences: Sequence[list[tuple[int, int, int]]]) -> int:
    """How many first tokens all prompts share; [EOS] always stays in a branch, so that each class keeps its own."""
    shortest = min(len(sequence) for sequence in sequences)
    length = 0
    while length < shortest - 1 and len({sequence[length] for sequence in sequences}) == 1:
        length += 1
    return length


def pack_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Distribute branches over rows: the longest first, each into the emptiest row; indices into `lengths` per row."""
    n_rows = max(1, round(sum(lengths) / max(row_length, *lengths)))
    rows: list[list[int]] = [[] for _ in range(n_rows)]
    filled = [0] * n_rows
    for branch in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        emptiest = filled.index(min(filled))
        rows[emptiest].append(branch)
        filled[emptiest] += lengths[branch]
    return rows


def _lay_out(
    trunk: list[tuple[int, int, int]],
    branches: list[tuple[tuple[int, int, int], ...]],
    rows: list[list[int]],
    branch_of_class: list[int],
) -> TokenTree:
    P = len(trunk)
    W = max(sum(len(branches[branch]) for branch in row) for row in rows)
    tokens = torch.zeros(P + len(rows) * W, 3, dtype=torch.int64)
    tokens[:, 1] = -1
    tokens[:P] = torch.tensor(trunk, dtype=torch.int64).reshape(P, 3)
    mask = torch.zeros(len(rows), W, P + W, dtype=torch.bool)
    mask[:, :, :P] = True
    # A padded token sees itself too: without a trunk its scores would all be -inf, and softmax of that is NaN.
    mask[:, torch.arange(W), P + torch.arange(W)] = True
    E = max(len(row) for row in rows)
    ends = torch.zeros(len(rows), E, dtype=torch.int64)
    place = [0] * len(branches)
    for r, row in enumerate(rows):
        start = 0
        for e, branch in enumerate(row):
            stop = start + len(branches[branch])
            tokens[P + r * W + start : P + r * W + stop] = torch.tensor(branches[branch], dtype=torch.int64)
            mask[r, start:stop, P + start : P + stop] = torch.ones(stop - start, stop - start, dtype=torch.bool).tril()
            ends[r, e:] = P + r * W + stop - 1  # the slots after the row's last branch repeat it
            place[branch] = r * E + e
            start = stop
    end_mask = torch.stack([row_mask[row_ends] for row_mask, row_ends in zip(mask, (ends - P) % W, strict=True)])
    ids, slots, positions = tokens.unbind(dim=1)
    end_of_class = torch.tensor([place[branch] for branch in branch_of_class], dtype=torch.int64)
    return TokenTree(ids, slots, positions, P, W, mask, ends, end_mask, end_of_class)
