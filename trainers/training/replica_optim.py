"""One of torch's own optimisers over learnt tensors (R, ...), with groups for each run of neighbours of equal settings.

An optimiser computes element by element, so a block of replicas is stepped to the same bits as each of them alone.
Seeds share all settings and are one block; a grid has as many as it has points.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import Parameter

from adaptkit.contract.adapted_towers import AdaptedTowers
from trainers.config.training import OptimConfig
from trainers.training.optim import ParamGroups, build_optimizer, set_group_rates

State = Mapping[int, Mapping[str, object]]  # by number of the learnt tensor and name of the entry


class ReplicaOptimizer:
    """Steps learnt tensors (R, ...) in place by their `.grad`, and clears it.

    Args:
        learnt: the leaves, by name.
        optims: R settings, which differ in rates and decays; neighbours that are equal are stepped as one.
        method: any of the replicas, for the decays and shares of the rate that it asks for.
    """

    def __init__(self, learnt: Mapping[str, Tensor], optims: Sequence[OptimConfig], method: AdaptedTowers):
        self.learnt = learnt
        self.blocks: list[tuple[slice, dict[str, Parameter], ParamGroups]] = []
        undecayed, shares, start = method.undecayed(), method.rate_shares(), 0
        optimizers = []
        for optim, equal in groupby(optims):
            rows = slice(start, start + len(list(equal)))
            own = {name: Parameter(tensor.detach()[rows]) for name, tensor in learnt.items()}  # on the same memory
            optimizer = build_optimizer(
                own.values(),
                optim,
                [own[name] for name in own if name in undecayed],
                {own[name]: share for name, share in shares.items()},
            )
            optimizers.append(optimizer)
            self.blocks.append((rows, own, optimizer.param_groups[:]))
            start = rows.stop
        self.optimizer, *others = optimizers
        for other in others:
            for group in other.param_groups:
                self.optimizer.add_param_group(group)

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """One step by R rates, which are equal within a block."""
        for rows, own, groups in self.blocks:
            for name, parameter in own.items():
                grad = self.learnt[name].grad
                parameter.grad = None if grad is None else grad[rows]
            set_group_rates(groups, rates[rows.start])
        self.optimizer.step()
        for tensor in self.learnt.values():
            tensor.grad = None

    def states(self) -> list[State]:
        """For each replica the state of the optimiser of its own training, as torch's `state_dict` has it: copies."""
        state = self.optimizer.state
        return [
            {
                index: {name: _row(value, row - rows.start) for name, value in state[parameter].items()}
                for index, parameter in enumerate(_parameters(groups))
                if parameter in state
            }
            for rows, _, groups in self.blocks
            for row in range(rows.start, rows.stop)
        ]

    def load_states(self, states: Sequence[State]) -> None:
        """Go on from R states of optimisers of single trainings, all after as many steps."""
        for rows, _, groups in self.blocks:
            own, parameters = states[rows], _parameters(groups)
            for index, entries in own[0].items():
                self.optimizer.state[parameters[index]] = {
                    name: _stacked([other[index][name] for other in own]) for name in entries
                }


def _parameters(groups: ParamGroups) -> list[Parameter]:
    """The learnt tensors of an optimiser in the order in which it numbers them."""
    return [parameter for group in groups for parameter in group["params"]]


def _row(value: object, row: int) -> object:
    """One replica's part of an entry; numbers, such as the count of steps, are the same for all."""
    if not isinstance(value, Tensor):
        return value
    return (value[row] if value.ndim else value).clone()


def _stacked(values: Sequence[object]) -> object:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        return values[0]
    return torch.stack(tensors) if tensors[0].ndim else tensors[0].clone()


@torch.no_grad()
def clip_norms(learnt: Mapping[str, Tensor], most: float) -> None:
    """Clip the norm of all gradients of each replica together, as torch's `clip_grad_norm_` does for one method."""
    grads = [tensor.grad for tensor in learnt.values() if tensor.grad is not None]
    for own in zip(*grads, strict=True):
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in own]))
        share = torch.clamp(most / (norm + 1e-6), max=1.0)
        for grad in own:
            grad.mul_(share)
