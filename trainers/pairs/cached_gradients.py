"""Gradients of a loss over a large batch of pairs, with the memory of a small one.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983. A contrastive
loss needs the features of the whole batch, but only the encoders need much memory:
    1. encode the batch piece by piece without gradients,            F = (f(x_1), ..., f(x_B))
    2. take the loss of all features and its gradients in them,      G = dL/dF
    3. encode each piece again and go back through it from G.
The sum over the pieces is the gradient of the loss, because each feature depends on its own piece alone. Where several
processes share a batch, each encodes its own rows, sees the features of all, and the gradients are summed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.layers.full_precision import at_least_fp32
from trainers.compute.precision import Precision, autocast
from trainers.compute.seeds import derived_seed, seeded
from trainers.compute.team import ALONE, Team

Encode = Callable[[slice], Tensor]  # rows of the batch -> their features (B', D), or other rows (B', ...)


@dataclass(frozen=True)
class Pieces:
    """The way in which a batch is cut.

    Args:
        size: rows that are encoded with gradients at a time.
        seed: of dropout and other random numbers, which are the same in both passes over a piece.
        team: the processes that share each batch evenly.
    """

    size: int
    seed: int
    precision: Precision = "fp32"
    team: Team = ALONE


def backward_in_pieces(method: AdaptedTowers, objective: PairObjective, batch: PairBatch, pieces: Pieces) -> Tensor:
    """Leave the gradients of the loss of a whole batch in `.grad`, and return the loss, detached.

    Args:
        batch: this process's rows of the batch; every process has as many.
    """
    count, team = len(batch.groups), pieces.team
    sides = (
        _Side("images", lambda rows: objective.image_side(method, batch.images[rows]), count, pieces, method.device),
        _Side("texts", lambda rows: objective.text_side(method, batch.texts[rows]), count, pieces, method.device),
    )
    groups = _rows_of_all(batch.groups, team)
    if count <= pieces.size and team.accelerator is None:  # One pass is enough.
        loss = objective.between(sides[0].encoded(), sides[1].encoded(), groups)
        if loss.requires_grad:
            loss.backward()
        return loss.detach() + _regularized(method, objective)
    with torch.no_grad():
        features = [_rows_of_all(side.encoded(), team) for side in sides]
    leaves = [rows.requires_grad_() for rows in features]
    loss = objective.between(leaves[0], leaves[1], groups)
    loss.backward()
    own = slice(team.rank * count, (team.rank + 1) * count)
    for side, leaf in zip(sides, leaves, strict=True):
        assert leaf.grad is not None
        side.go_back(leaf.grad[own])
    _sum_gradients(method.learnt_parameters().values(), team)
    return loss.detach() + _regularized(method, objective)


def _regularized(method: AdaptedTowers, objective: PairObjective) -> Tensor | float:
    """Add the gradients of the objective's regularizer, which every process has alike, and return it, detached."""
    added = objective.regularizer(method)
    if added is None:
        return 0.0
    added.backward()
    return added.detach()


@dataclass(frozen=True)
class _Side:
    """One side of a batch, which is encoded piece by piece."""

    name: str
    encode: Encode
    count: int
    pieces: Pieces
    device: torch.device

    def encoded(self) -> Tensor:
        """The features of all rows (B, D) in full precision."""
        return torch.cat([self._piece(rows) for rows in self._bounds()])

    def go_back(self, gradients: Tensor) -> None:
        """Encode each piece again, and add the gradients that the gradients (B, D) of its features give."""
        for rows in self._bounds():
            features = self._piece(rows)
            if not features.requires_grad:  # A frozen side has nothing to go back to.
                return
            features.backward(gradients[rows])

    def _bounds(self) -> Iterator[slice]:
        size = self.pieces.size
        return (slice(start, min(start + size, self.count)) for start in range(0, self.count, size))

    def _piece(self, rows: slice) -> Tensor:
        pieces = self.pieces
        seed = derived_seed("piece", pieces.seed, self.name, pieces.team.rank, rows.start)
        with seeded(seed, self.device), autocast(self.device, pieces.precision):
            features = self.encode(rows)
        return at_least_fp32(features)


def _rows_of_all(own: Tensor, team: Team) -> Tensor:
    """The rows of every process (processes * B, ...), in their order."""
    if team.accelerator is None:
        return own
    rows: Tensor = team.accelerator.gather(own.contiguous())
    return rows


def _sum_gradients(parameters: Iterable[nn.Parameter], team: Team) -> None:
    """Replace each gradient by its sum over the processes."""
    if team.accelerator is None:
        return
    for parameter in parameters:
        own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = team.accelerator.reduce(own, "sum")
