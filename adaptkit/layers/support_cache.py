"""Tip-Adapter's cache, with support features as keys and labels as values, and the search of alpha and beta.

Zhang et al., "Tip-Adapter", arXiv:2111.03930. For a query f and keys k_n, all of unit length, with one-hot labels v_n:
    cache logits = sum_n exp(-beta (1 - f . k_n)) v_n,    logits = 100 f . w_c + alpha * cache logits
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.artefacts.tensors import check_dtype
from adaptkit.contract.method import Support

# Factor of the cosines with the class weights, a constant in the released code, independent of CLIP's own scale.
CLIP_SCALE = 100.0
SEARCH_BYTES = 2**28  # Bytes of logits that the search holds at a time.


@dataclass(frozen=True)
class SearchGrid:
    """The grid of the search: `steps` values from 0.1 up to, but not including, the maximum."""

    beta_max: float
    alpha_max: float
    beta_steps: int
    alpha_steps: int

    @property
    def betas(self) -> list[float]:
        return [0.1 + step * (self.beta_max - 0.1) / self.beta_steps for step in range(self.beta_steps)]

    @property
    def alphas(self) -> list[float]:
        return [0.1 + step * (self.alpha_max - 0.1) / self.alpha_steps for step in range(self.alpha_steps)]


class SupportCache(nn.Module):
    """Keys (N, D) with labels (N,), empty until `fill`; `search` may change `alpha` and `beta`.

    Args:
        n_classes: number of classes C.
        like: a tensor with the device and dtype of the computation, its last dimension D.
        learns: whether the keys are parameters.
    """

    keys: Tensor
    labels: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, n_classes: int, like: Tensor, alpha: float, beta: float, *, learns: bool):
        super().__init__()
        self.n_classes = n_classes
        keys = like.new_zeros(0, like.shape[-1])
        if learns:
            self.keys = nn.Parameter(keys)
        else:
            self.register_buffer("keys", keys)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64, device=like.device))
        for name, value in (("alpha", alpha), ("beta", beta)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64, device=like.device))

    def fill(self, support: Support) -> None:
        """Fill the keys from support features (N, D), or (N, V, D): unnormalised mean over views, then unit length.

        Raises:
            ValueError: if a label is none of the C classes, or the features are not D wide.
        """
        x, labels, width = support.x, support.labels, self.keys.shape[-1]
        if x.ndim not in (2, 3) or x.shape[-1] != width or len(x) != len(labels):
            raise ValueError(
                f"support features {tuple(x.shape)} with labels {tuple(labels.shape)}; "
                f"expected (N, {width}) or (N, V, {width}) with (N,)"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_classes:
            raise ValueError(
                f"support labels reach from {labels.min()} to {labels.max()}; there are {self.n_classes} classes"
            )
        x = x.to(self.keys).detach()
        self._hold(F.normalize(x.mean(dim=1) if x.ndim == 3 else x, dim=-1), labels.to(self.labels))

    def _hold(self, keys: Tensor, labels: Tensor) -> None:
        self.keys = nn.Parameter(keys) if isinstance(self.keys, nn.Parameter) else keys
        self.labels = labels

    @property
    def values(self) -> Tensor:
        """One-hot labels (N, C)."""
        return F.one_hot(self.labels, self.n_classes).to(self.keys.dtype)

    def cache_logits(self, query: Tensor) -> Tensor:
        """Cache logits (B, C) of unit queries (B, D), without the factor alpha."""
        return self._weighted(query, self.keys, self.labels)

    def _weighted(self, query: Tensor, keys: Tensor, labels: Tensor) -> Tensor:
        values = F.one_hot(labels, self.n_classes).to(query)
        return torch.exp(-self.beta * (1 - query @ keys.to(query).mT)) @ values

    def forward(self, query: Tensor, class_weights: Tensor) -> Tensor:
        """Logits (B, C) of unit queries (B, D), with class weights (C, D)."""
        return self.logits_with(query, class_weights, self.keys, self.labels)

    def logits_with(self, query: Tensor, class_weights: Tensor, keys: Tensor, labels: Tensor) -> Tensor:
        """Logits (..., B, C) of unit queries (..., B, D) with other keys (..., N, D) and their labels, (..., N)."""
        return CLIP_SCALE * query @ class_weights.T + self.alpha * self._weighted(query, keys, labels)

    @torch.no_grad()
    def search(self, class_weights: Tensor, examples: Support, grid: SearchGrid) -> None:
        """Set alpha and beta to the first pair of the grid, beta by beta, with the most correct examples.

        If no pair gets any example right, both become 0, which is zero-shot, as in the released code.
        """
        query, labels = F.normalize(examples.x.to(class_weights), dim=-1), examples.labels.to(self.labels)
        clip_logits = CLIP_SCALE * query @ class_weights.T  # (B, C)
        alphas = clip_logits.new_tensor(grid.alphas)[:, None, None]
        affinity, values = query @ self.keys.to(query).T, self.values.to(query)
        rows = max(1, SEARCH_BYTES // (clip_logits.element_size() * len(grid.alphas) * self.n_classes))
        correct = torch.zeros(len(grid.betas), len(grid.alphas), dtype=torch.int64, device=query.device)
        for row, beta in enumerate(grid.betas):
            cache_logits = torch.exp(-beta * (1 - affinity)) @ values  # (B, C)
            for start in range(0, len(query), rows):
                part = slice(start, start + rows)
                predicted = (clip_logits[part] + alphas * cache_logits[part]).argmax(dim=-1)  # (alphas, b)
                correct[row] += (predicted == labels[part]).sum(dim=-1)
        beta, alpha = divmod(int(correct.argmax()), len(grid.alphas))  # `argmax` takes the first in a tie.
        found = bool(correct.any())
        self.beta.fill_(grid.betas[beta] if found else 0.0)
        self.alpha.fill_(grid.alphas[alpha] if found else 0.0)

    def state(self) -> dict[str, Tensor]:
        """Copies of keys, labels, alpha and beta: the whole content of the cache."""
        return {name: tensor.detach().clone() for name, tensor in self.state_dict(prefix="cache.").items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the content from a dict made by `state`.

        Raises:
            ValueError: if the dict does not fit such a cache.
        """
        if state.keys() != self.state().keys():
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; expected {sorted(self.state())}")
        keys, labels = state["cache.keys"], state["cache.labels"]
        for name, tensor in self.state().items():
            check_dtype(name, state[name], tensor)
            if state[name].ndim != tensor.ndim:
                raise ValueError(f"{name} has {state[name].ndim} dimensions; expected {tensor.ndim}")
        if keys.shape != (len(labels), self.keys.shape[-1]):
            raise ValueError(f"cache.keys has shape {tuple(keys.shape)}; expected {(len(labels), self.keys.shape[-1])}")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_classes:
            raise ValueError(
                f"cache.labels reach from {labels.min()} to {labels.max()}; there are {self.n_classes} classes"
            )
        self._hold(keys.to(self.keys).clone(), labels.to(self.labels).clone())
        self.alpha.copy_(state["cache.alpha"])
        self.beta.copy_(state["cache.beta"])
