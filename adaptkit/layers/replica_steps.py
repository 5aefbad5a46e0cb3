"""Gradients of R replicas in one pass, for methods that write `backward_replicas`.

Products take the replicas as one more axis in front: a learnt tensor is (R, ...), a batch (R, B, ...). Methods with
learnt prompts send the contexts of all replicas through the text tower as groups of one token tree. A method for which
neither is at hand has `backward_mapped`, which maps its own `loss` over the replicas and costs more calls.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.replicas import Replicas

Losses = Callable[[Replicas, Tensor, Tensor], Tensor]


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (R,) of logits (R, B, C) and labels (R, B), or probabilities of classes (R, B, C)."""
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1), reduction="none")  # (R * B,)
    return each.unflatten(0, logits.shape[:2]).mean(dim=1)


def backward_each(losses: Tensor) -> Tensor:
    """Leave the gradients of R losses in the replicas' leaves; each loss depends on the tensors of its own alone."""
    losses.sum().backward()
    return losses.detach()


def backward_in_parts(replicas: Replicas, x: Tensor, labels: Tensor, losses: Losses, at_once: int) -> Tensor:
    """Gradients of `losses`, which makes (R,) of replicas and their batches, for at most `at_once` replicas at a time.

    Example:
        ```python
        from adaptkit.contract.replicas import Replicas
        from adaptkit.layers.replica_steps import backward_in_parts
        w, x, labels = torch.ones(3, 2, requires_grad=True), torch.ones(3, 4, 2), torch.zeros(3, 4)
        losses = backward_in_parts(Replicas({"w": w}), x, labels, lambda own, x, y: own.learnt["w"].sum(1), at_once=2)
        assert losses.tolist() == [2, 2, 2] and w.grad.tolist() == [[1, 1]] * 3
        ```
    """
    parts = [slice(start, start + at_once) for start in range(0, len(replicas), at_once)]
    return torch.cat([backward_each(losses(replicas.part(rows), x[rows], labels[rows])) for rows in parts])


def layers_each(layers: nn.Sequential, name: str, replicas: Replicas, x: Tensor) -> Tensor:
    """A method's `layers` of the given name, each replica's on its own x (R, B, D), or on an x (B, D) that all share.

    The layers are linear without bias, or learn nothing.
    """
    for place, layer in enumerate(layers):
        x = x @ replicas.learnt[f"{name}.{place}.weight"].mT if isinstance(layer, nn.Linear) else layer(x)
    return x


def module_each(module: nn.Module, name: str, replicas: Replicas, *x: Tensor) -> Tensor:
    """A method's part `name`, each replica's on its own x (R, ...), one after another: what it gives, (R, ...)."""
    prefix = f"{name}."
    tensors = {key.removeprefix(prefix): own for key, own in replicas.tensors().items() if key.startswith(prefix)}
    own = [dict(zip(tensors, rows, strict=True)) for rows in zip(*tensors.values(), strict=True)]
    return torch.stack([functional_call(module, *each) for each in zip(own, zip(*x, strict=True), strict=True)])


class _Loss(nn.Module):
    """The loss of a method as a call, which `functional_call` gives other tensors."""

    def __init__(self, method: AdaptedCLIP):
        super().__init__()
        self.method = method

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.method.loss(x, labels)


def backward_mapped(method: AdaptedCLIP, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
    """Gradients of `method.loss`, mapped over the replicas and their batches; its losses (R,)."""
    loss = _Loss(method)

    def of_one(tensors: dict[str, Tensor], x: Tensor, labels: Tensor) -> Tensor:
        return functional_call(loss, tensors, (x, labels), tie_weights=False)

    own = {f"method.{name}": tensor for name, tensor in replicas.tensors().items()}
    return backward_each(vmap(of_one)(own, x, labels))
