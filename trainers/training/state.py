"""The state of a training between two steps, taken apart into tensors and facts, and put back.

It holds the learnt tensors and the other tensors that training changes, the optimiser, the random numbers, the place in
the data and the losses so far. The learning rate is a function of the step, and the order of the data one of the seed
and the epoch, so neither is kept.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from adaptkit.artefacts.atomic_file import Json
from adaptkit.contract.method import AdaptedCLIP
from trainers.compute.team import Team
from trainers.training.checkpoints import Snapshot


@dataclass(frozen=True)
class LastGood:
    """The finite tensors of a method after a number of epochs."""

    epochs: int
    state: dict[str, Tensor]


@dataclass
class Progress:
    """The progress of a training."""

    last_good: LastGood
    steps: int = 0
    epoch: int = 0  # The epoch under way, counted from 0.
    batch: int = 0  # Number of steps in it so far.
    epoch_losses: list[Tensor] = field(default_factory=list)  # Scalar losses of these steps.
    losses: list[float] = field(default_factory=list)  # Mean loss of every earlier epoch.


def take_snapshot(method: AdaptedCLIP, optimizer: torch.optim.Optimizer, progress: Progress, team: Team) -> Snapshot:
    """Snapshot of the training with the random numbers of every process; the method is in training mode."""
    tensors = {"rng/cpu": team.gather(torch.get_rng_state())}
    if method.device.type == "cuda":
        tensors["rng/device"] = team.gather(torch.cuda.get_rng_state(method.device))
    tensors |= {f"method/{name}": tensor for name, tensor in method.training_state().items()}
    tensors |= {f"last_good/{name}": tensor for name, tensor in progress.last_good.state.items()}
    if progress.epoch_losses:
        tensors["epoch_losses"] = torch.stack(progress.epoch_losses)
    numbers: dict[str, Json] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                numbers[f"{index}/{name}"] = value
    facts: dict[str, Json] = {
        "epoch": progress.epoch,
        "batch": progress.batch,
        "losses": list(progress.losses),
        "last_good_epochs": progress.last_good.epochs,
        "optimizer": numbers,
    }
    return Snapshot(progress.steps, tensors, facts)


def restore_snapshot(snapshot: Snapshot, method: AdaptedCLIP, optimizer: torch.optim.Optimizer, team: Team) -> Progress:
    """Restore method, optimiser and random numbers, and return the progress of the training."""
    facts, device = snapshot.facts, method.device
    method.load_training_state(_part(snapshot, "method/", device))
    optimizer.load_state_dict({**optimizer.state_dict(), "state": _optimizer_state(snapshot)})
    torch.set_rng_state(snapshot.tensors["rng/cpu"][team.rank].clone())  # torch reads from the start of the memory.
    if device.type == "cuda":
        torch.cuda.set_rng_state(snapshot.tensors["rng/device"][team.rank].clone(), device)
    losses = snapshot.tensors.get("epoch_losses")
    last_good = LastGood(_number(facts["last_good_epochs"]), _part(snapshot, "last_good/", device))
    return Progress(
        last_good=last_good,
        steps=snapshot.steps,
        epoch=_number(facts["epoch"]),
        batch=_number(facts["batch"]),
        epoch_losses=[] if losses is None else list(losses.to(device)),
        losses=[float(loss) for loss in _listed(facts["losses"])],
    )


def _optimizer_state(snapshot: Snapshot) -> dict[int, dict[str, object]]:
    """Optimiser entries by parameter index; moments go to the parameter's device and keep their bits."""
    tensors, numbers = _part(snapshot, "optimizer/", torch.device("cpu")), snapshot.facts["optimizer"]
    assert isinstance(numbers, dict)
    state: dict[int, dict[str, object]] = {}
    for key, value in {**tensors, **numbers}.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    return state


def _part(snapshot: Snapshot, prefix: str, device: torch.device) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor.to(device)
        for name, tensor in snapshot.tensors.items()
        if name.startswith(prefix)
    }


def _number(value: Json) -> int:
    assert isinstance(value, int)
    return value


def _listed(values: Json) -> list[float]:
    assert isinstance(values, list)
    return [value for value in values if isinstance(value, float | int)]
