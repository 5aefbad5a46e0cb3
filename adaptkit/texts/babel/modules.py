"""The four ways in which a text tower takes in a language; each computes the frozen tower's features at its start.

    lora         W x + (alpha / r) B A x on queries and values of every block        B zero at the start
    bottleneck   y + A(y) behind the MLP of every block, A a bottleneck              its upper layer zero at the start
    embedding    E[t] + d[t] for the tokens t of the language                        d zero at the start
    projection   x P + x Q in place of the last projection P                         Q zero at the start
A way is a tower, in which the frozen modules are shared, and the module that holds what it learns.
"""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from adaptkit.layers.block_view import BlockView, chosen_layers
from adaptkit.layers.bottleneck import Behind, Bottleneck
from adaptkit.layers.lora_attention import LoRAAttention, LowRank
from adaptkit.towers.block import Block
from adaptkit.towers.text import TextTower
from adaptkit.towers.watch import Home

Adapted = tuple[TextTower, nn.Module]


def with_lora(tower: TextTower, r: int, alpha: float) -> Adapted:
    """Low-rank updates of the queries and values of every block."""
    blocks, updates = list[Block](tower.blocks), nn.ModuleDict()
    for layer in chosen_layers((), tower, "blocks"):
        own = nn.ModuleDict({name: LowRank(tower.width, r, alpha / r, 0.0, tower.device) for name in ("q", "v")})
        blocks[layer] = BlockView(blocks[layer], attn=LoRAAttention(blocks[layer].attn, own))
        updates[str(layer)] = own
    return replace(tower, blocks=blocks), updates


def with_bottlenecks(tower: TextTower, width: int) -> Adapted:
    """A bottleneck behind the MLP of every block."""
    blocks, adapters = list[Block](tower.blocks), nn.ModuleDict()
    for layer in chosen_layers((), tower, "blocks"):
        own = Bottleneck(tower.width, width, tower.device)
        scale = getattr(blocks[layer], "ls_2", None) or nn.Identity()
        blocks[layer] = BlockView(blocks[layer], ls_2=Behind(scale, own))
        adapters[str(layer)] = own
    return replace(tower, blocks=blocks), adapters


def with_token_deltas(tower: TextTower, tokens: tuple[int, ...]) -> Adapted:
    """A vector that is added to the embedding of each of some tokens.

    Raises:
        ValueError: if there is no token, or one is not in the vocabulary.
    """
    size = len(tower.token_embedding.weight)
    if not tokens:
        raise ValueError(
            'tokens=() for kind="embedding"; give the ids of the language, which `token_ids` finds in texts'
        )
    if max(tokens) >= size:
        raise ValueError(
            f"token {max(tokens)} is not among the {size} of the text tower; take `token_ids` of its texts"
        )
    deltas = TokenDeltas(tokens, tower.width, tower.device)
    embedding = cast(nn.Embedding, ShiftedEmbedding(tower.token_embedding, deltas))
    return replace(tower, token_embedding=embedding), deltas


def with_projection(tower: TextTower) -> Adapted:
    """A matrix that is added to the last projection."""
    home = next((home for home in tower.homes if home.field == "projection"), None)
    if isinstance(tower.projection, nn.Linear):
        out = tower.projection.out_features
    else:
        out = tower.width if tower.projection is None else tower.projection.shape[1]
    update = ProjectionUpdate(tower.width, out, tower.device)
    shifted = cast(nn.Linear, ShiftedProjection(tower.projection, home, update))
    others = tuple(each for each in tower.homes if each.field != "projection")
    return replace(tower, projection=shifted, homes=others), update


class TokenDeltas(nn.Module):
    """Vectors d (K, D_t) for K tokens."""

    ids: Tensor

    def __init__(self, tokens: tuple[int, ...], width: int, device: torch.device):
        super().__init__()
        self.register_buffer("ids", torch.tensor(sorted({*tokens}), device=device), persistent=False)
        self.deltas = nn.Parameter(torch.zeros(len(self.ids), width, device=device))

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (...) -> their vectors (..., D_t), which are zero for other tokens."""
        places = torch.searchsorted(self.ids, tokens.contiguous()).clamp(max=len(self.ids) - 1)
        return self.deltas[places] * (self.ids[places] == tokens)[..., None]


class ShiftedEmbedding(nn.Module):
    """Stands where the token embedding of a tower stands: E[t] + d[t]."""

    def __init__(self, frozen: nn.Embedding, deltas: TokenDeltas):
        super().__init__()
        self.frozen, self.shift = frozen, deltas
        self.embedding_dim = frozen.embedding_dim

    @property
    def weight(self) -> Tensor:
        """The frozen embeddings."""
        return self.frozen.weight

    def forward(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.frozen(tokens)
        return embedded + self.shift(tokens).to(embedded.dtype)


class ProjectionUpdate(nn.Module):
    """The matrix Q (D_t, D) beside the last projection."""

    def __init__(self, width: int, out: int, device: torch.device):
        super().__init__()
        self.Q = nn.Parameter(torch.zeros(width, out, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.Q.to(x.dtype)


class ShiftedProjection(nn.Module):
    """Stands where the last projection of a tower stands: x P + x Q.

    Args:
        frozen: P, or a linear layer, or None where rows are features already.
        home: where the backbone has P, which may be moved or loaded anew.
    """

    def __init__(self, frozen: Tensor | nn.Linear | None, home: Home | None, update: ProjectionUpdate):
        super().__init__()
        self.layer = frozen if isinstance(frozen, nn.Linear) else None
        self.update = update
        self.__dict__.update(matrix=frozen if isinstance(frozen, Tensor) else None, home=home)

    def forward(self, x: Tensor) -> Tensor:
        matrix: Tensor | None = self.__dict__["matrix"]
        home: Home | None = self.__dict__["home"]
        if self.layer is not None:
            return self.layer(x) + self.update(x)
        matrix = matrix if home is None else home.tensor()
        return (x if matrix is None else x @ matrix) + self.update(x)
