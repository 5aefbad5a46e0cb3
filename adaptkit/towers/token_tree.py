"""The prompts of all classes packed into one token tree: a shared trunk, and bushes of branches.

In a causal text tower a position depends only on itself and the positions before it. So common beginnings of prompts
are computed once: the trunk ([SOS], learnt context, fixed words) for all classes, and a bush for the classes whose
names begin alike ("great white shark", "great grey owl"). Bushes lie side by side in rows of about `ROW_LENGTH` tokens;
every token keeps the position it has in its own prompt, and sees the tokens before it in that prompt. 1,000 ImageNet
prompts of 77 positions become 4,112 tokens, and the result is the same in exact arithmetic. Nothing here knows a
tower: these are indices only.

Letters: C classes, L prompt tokens, P trunk tokens, R rows, W tokens in the longest row, E ends in the fullest row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Tokens in a row. Attention is quadratic in a row, and short rows waste products on padding: about 60 is the optimum.
ROW_LENGTH = 64


@dataclass(frozen=True)
class PromptTokens:
    """Prompts of C classes, token by token.

    A position holds either a fixed token (its id) or a learnt one (its slot, counted over all learnt tokens).

    Args:
        ids: (C, L) int64 token ids; arbitrary behind the end of a prompt and in the places of learnt tokens.
        slots: (C, L) int64, number of the learnt token in each place, or -1 for the fixed token in `ids`.
        ends: (C,) int64, position of [EOS], whose output is the text feature.
        start: position behind [SOS], 0 for a tokenizer without one; deep prompts begin there.
    """

    ids: Tensor
    slots: Tensor
    ends: Tensor
    start: int = 1

    @property
    def n_slots(self) -> int:
        """Number of learnt tokens."""
        return int(self.slots.max()) + 1 if self.slots.numel() else 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TokenTree:
    """The places of all tokens in the packed prompts, numbered from the P of the trunk to the R * W of the rows.

    Args:
        ids: (P + R * W,) token ids; padding repeats the id 0.
        slots: (P + R * W,) number of the learnt token in each place, or -1.
        positions: (P + R * W,) position in the token's own prompt.
        trunk_length: number of trunk tokens P.
        row_length: number of tokens W in a row.
        mask: (R, W, P + W) bool, True if a token of a row may see a token of the trunk or of its row.
        ends: (R, E) number of each [EOS] in each row; a row with fewer repeats its last.
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
    nodes, leaves = _grow(prompts)
    trunk = _shared_prefix(nodes)
    bushes = [_below(nodes, child) for child in nodes[trunk[-1] if trunk else ROOT].children.values()]
    rows = pack_rows([len(bush) for bush in bushes], row_length)
    return _lay_out(nodes, leaves, trunk, [[node for bush in row for node in bushes[bush]] for row in rows])


@dataclass
class _Node:
    """A token that several prompts share, behind the same tokens."""

    token: tuple[int, int]  # (id, slot)
    position: int
    parent: int
    is_end: bool = False
    children: dict[tuple[int, int], int] = field(default_factory=dict)  # token -> node


ROOT = 0  # The node in front of every prompt, no token itself.


def _grow(prompts: PromptTokens) -> tuple[list[_Node], list[int]]:
    """All nodes of the tree, and the node at which each class ends."""
    nodes, leaves = [_Node(token=(0, -1), position=-1, parent=-1)], []
    # A learnt token has no id of its own, so equal slots are equal with any placeholder in `ids`.
    all_ids = torch.where(prompts.slots >= 0, 0, prompts.ids).tolist()
    for ids, slots, end in zip(all_ids, prompts.slots.tolist(), prompts.ends.tolist(), strict=True):
        node = ROOT
        for position, token in enumerate(zip(ids[: end + 1], slots[: end + 1], strict=True)):
            if token not in nodes[node].children:
                nodes[node].children[token] = len(nodes)
                nodes.append(_Node(token, position, parent=node))
            node = nodes[node].children[token]
        nodes[node].is_end = True
        leaves.append(node)
    return nodes, leaves


def _shared_prefix(nodes: list[_Node]) -> list[int]:
    """Nodes on the path of every prompt; [EOS] stays outside, because features are read there."""
    trunk: list[int] = []
    node = ROOT
    while len(nodes[node].children) == 1:
        (node,) = nodes[node].children.values()
        if nodes[node].is_end:
            break
        trunk.append(node)
    return trunk


def _below(nodes: list[_Node], top: int) -> list[int]:
    """A node and all nodes below it, parents before children."""
    found, waiting = [], [top]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(nodes[node].children.values())
    return found


def pack_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Distribute bushes over rows, the longest first, each into the emptiest row: indices into `lengths` per row."""
    n_rows = max(1, round(sum(lengths) / max(row_length, *lengths)))
    rows: list[list[int]] = [[] for _ in range(n_rows)]
    filled = [0] * n_rows
    for bush in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        emptiest = filled.index(min(filled))
        rows[emptiest].append(bush)
        filled[emptiest] += lengths[bush]
    return [row for row in rows if row]


def _lay_out(nodes: list[_Node], leaves: list[int], trunk: list[int], rows: list[list[int]]) -> TokenTree:
    P, W = len(trunk), max(len(row) for row in rows)
    E = max(sum(nodes[node].is_end for node in row) for row in rows)
    tokens = torch.zeros(P + len(rows) * W, 3, dtype=torch.int64)
    tokens[:, 1] = -1
    mask = torch.zeros(len(rows), W, P + W, dtype=torch.bool)
    mask[:, :, :P] = True
    ends = torch.zeros(len(rows), E, dtype=torch.int64)
    place: dict[int, int] = {}  # end node -> index into the R * E ends
    for r, row in enumerate(rows):
        column = {node: index for index, node in enumerate(row)}
        n_ends = 0
        for index, node in enumerate(row):
            if nodes[node].parent in column:
                mask[r, index] = mask[r, column[nodes[node].parent]]
            mask[r, index, P + index] = True
            if nodes[node].is_end:
                ends[r, n_ends:] = P + r * W + index  # Places behind the row's last end repeat it.
                place[node] = r * E + n_ends
                n_ends += 1
        tokens[P + r * W : P + r * W + len(row)] = _describe(nodes, row)
        for index in range(len(row), W):
            # A padded token sees itself: without a trunk, its scores would all be -inf, and softmax of those is NaN.
            mask[r, index, P + index] = True
    tokens[:P] = _describe(nodes, trunk)
    end_mask = torch.stack([row_mask[row_ends] for row_mask, row_ends in zip(mask, (ends - P) % W, strict=True)])
    ids, slots, positions = tokens.unbind(dim=1)
    return TokenTree(
        ids, slots, positions, P, W, mask, ends, end_mask, end_of_class=torch.tensor([place[leaf] for leaf in leaves])
    )


def _describe(nodes: list[_Node], order: list[int]) -> Tensor:
    """Id, slot and position of some nodes: (n, 3) int64."""
    rows = [(*nodes[node].token, nodes[node].position) for node in order]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
