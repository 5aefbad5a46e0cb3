"""A toy of continual learning: two linear towers learn pairs of one domain, then of another, and forget the first.

A pair is two noisy views of one concept, each through a fixed map of its own. The concepts of the domains spread in
different directions around different means, so that fitting the second bends what the first needs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.objectives.modx import modx_loss

PAIRS, CONCEPT, INPUT, WIDTH = 32, 16, 24, 12  # pairs of a domain; widths of concepts, inputs and features
STEPS, RATE, LOGIT_SCALE, NOISE = 150, 5e-3, 2.66, 0.3
TESTS = 4  # draws of noise that a domain is tested with

View = tuple[Tensor, Tensor]  # images and texts (PAIRS, INPUT)


@dataclass(frozen=True)
class Phases:
    """Recall at 1 in percent, the mean of both directions, on the first domain and on the second."""

    after_first: tuple[float, float]
    after_second: tuple[float, float]

    @property
    def forgotten(self) -> float:
        """Points of recall on the first domain that the second phase cost."""
        return self.after_first[0] - self.after_second[0]


def two_phases(alpha: float, seed: int) -> Phases:
    """Train on both domains, one after the other; `alpha` weighs the sum over rows in the second phase."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    maps = [normal(CONCEPT, INPUT) / 4 for _ in range(2)]
    concepts = []
    for wide in (slice(0, CONCEPT // 2), slice(CONCEPT // 2, CONCEPT)):
        spread = torch.full((CONCEPT,), 0.5)
        spread[wide] = 1.0
        concepts.append(normal(PAIRS, CONCEPT) * spread + normal(1, CONCEPT))

    def views(domain: int) -> View:
        first, second = ((concepts[domain] + NOISE * normal(PAIRS, CONCEPT)) @ into for into in maps)
        return first, second

    towers = [(0.2 * normal(WIDTH, INPUT)).requires_grad_() for _ in range(2)]
    tests = [[views(domain) for _ in range(TESTS)] for domain in range(2)]
    found = []
    for domain in range(2):
        _train(towers, [views(domain) for _ in range(STEPS)], alpha if domain else 0.0)
        found.append((_recall(towers, tests[0]), _recall(towers, tests[1])))
    return Phases(*found)


def _train(towers: list[Tensor], batches: list[View], alpha: float) -> None:
    old = [tower.detach().clone() for tower in towers]
    optimizer = torch.optim.AdamW(towers, lr=RATE, weight_decay=0.0)
    for images, texts in batches:
        now, then = (images @ towers[0].T, texts @ towers[1].T), (images @ old[0].T, texts @ old[1].T)
        loss = modx_loss(*now, *then, torch.tensor(LOGIT_SCALE), alpha=alpha).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _recall(towers: list[Tensor], tests: list[View]) -> float:
    own, found = torch.arange(PAIRS), []
    for images, texts in tests:
        cosines = F.normalize(images @ towers[0].T, dim=-1) @ F.normalize(texts @ towers[1].T, dim=-1).T
        found += [(cosines.argmax(dim=1) == own).float().mean(), (cosines.argmax(dim=0) == own).float().mean()]
    return 100 * float(torch.stack(found).mean())
