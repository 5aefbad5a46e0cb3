"""Encoders from learnt prompt tokens to text features, for any text tower."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adaptkit.towers.block import NO_PROMPTS
from adaptkit.towers.full_text import encode_full_text
from adaptkit.towers.text import TextTower
from adaptkit.towers.token_tree import PromptTokens
from adaptkit.towers.tree_encoder import MEMORY_BUDGET, TreeEncoder
from adaptkit.towers.watch import Watch, current


def prompt_encoder(
    tower: TextTower, prompts: PromptTokens, *, is_causal: bool, memory_budget: int = MEMORY_BUDGET
) -> "TreeEncoder | FullEncoder":
    """A token tree for a causal tower, else an encoder of every position; both have the same call."""
    if is_causal:
        return TreeEncoder(tower, prompts, memory_budget=memory_budget)
    return FullEncoder(tower, prompts)


class FullEncoder(nn.Module):
    """Encoder of every position of every prompt, padding included, for towers that are not causal.

    The call is that of `TreeEncoder`: ctx (G, S, D_t), deep layer -> (n, D_t) or (G, n, D_t), by_slot likewise with S
    tokens -> features (G, C, D).
    """

    ids: Tensor
    slots: Tensor
    ends: Tensor

    def __init__(self, tower: TextTower, prompts: PromptTokens):
        super().__init__()
        self.tower, self.prompts = tower, prompts
        self.n_slots, self.start = prompts.n_slots, prompts.start
        self.watch = Watch([tower.token_embedding])
        self._register_indices()

    def _register_indices(self) -> None:
        prompts, device = self.prompts, self.tower.device
        self.register_buffer("ids", prompts.ids.to(device), persistent=False)
        self.register_buffer("slots", prompts.slots.to(device), persistent=False)
        self.register_buffer("ends", prompts.ends.to(device), persistent=False)

    @property
    def n_tokens(self) -> int:
        """Number of positions in one pass."""
        return self.ids.numel()

    @property
    def groups_at_once(self) -> int:
        """How many groups of learnt tokens a pass takes: one, as each is a pass of its own."""
        return 1

    def forward(
        self,
        ctx: Tensor | None = None,
        deep: Mapping[int, Tensor] = NO_PROMPTS,
        by_slot: Mapping[int, Tensor] = NO_PROMPTS,
    ) -> Tensor:
        """Features (G, C, D), not normalised; see `TreeEncoder.forward`.

        Raises:
            ValueError: if `ctx` does not have the S tokens of the prompts.
        """
        if self.watch.changed():  # An empty module has empty indices, too.
            self._register_indices()
        self.tower = current(self.tower)
        fixed = self.tower.token_embedding(self.ids).to(self.tower.dtype)  # (C, L, D_t)
        if ctx is None:
            ctx = fixed.new_zeros(1, 0, self.tower.width)
        if ctx.shape[1] != self.n_slots:
            raise ValueError(f"ctx has shape {tuple(ctx.shape)}; the prompts have {self.n_slots} learnt tokens")
        learnt_at = self.slots >= 0
        features = []
        for group in range(len(ctx)):
            x = fixed.clone()
            x[learnt_at] = ctx[group, self.slots[learnt_at]].to(x.dtype)
            own, placed = _of_group(deep, group), _of_group(by_slot, group)
            learnt = {layer: (learnt_at, prompt[self.slots[learnt_at]]) for layer, prompt in placed.items()}
            features.append(encode_full_text(self.tower, x, self.ids, self.ends, self.start, own, learnt))
        return torch.stack(features)


def _of_group(prompts: Mapping[int, Tensor], group: int) -> dict[int, Tensor]:
    """Of prompts (n, D_t) that all groups share or (G, n, D_t), those (n, D_t) of one group."""
    return {layer: prompt[group] if prompt.ndim == 3 else prompt for layer, prompt in prompts.items()}
