"""Searches for the blocks to skip, which a trainer steps through: DAS's own, and a greedy baseline for it to beat."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adaptkit.contract.architecture import Architecture, Choice, TowerPlan, largest, merged
from adaptkit.wrappers.das.config import DASConfig
from adaptkit.wrappers.das.gates import Gates, advantages, distinct, rewards

MIN_STEPS, STEPS_PER_SHOT, MAX_STEPS = 500, 250, 2000
Finish = Callable[[Architecture], Architecture]  # Adds the costs to an architecture.


class RewardSearch:
    """Gates for the blocks of both towers, and sub-networks drawn by them; see `architecture.ArchitectureSearch`.

    Args:
        depths: number of blocks of the image tower and of the text tower.
        use: a function that skips the blocks of a choice in the method.
    """

    trains = True

    def __init__(self, config: DASConfig, depths: tuple[int, int], use: Callable[[Choice], None], finish: Finish):
        self.options, self.depths, self.use, self.finish = config, depths, use, finish
        self.counts = (config.skip_vision, config.skip_text)
        self.gates = Gates(depths[0]), Gates(depths[1])
        # Computes the image tower's first gates (depth,), if they are not zeros.
        self.first_gates: Callable[[], Tensor] | None = None
        self.searches, self.reward_images = config.searches, config.reward_images
        self.reward_batch, self.batch_size = config.reward_batch, config.search_batch
        self.lr, self.weight_decay = config.search_lr, config.search_weight_decay

    def begin(self) -> None:
        """Set the first gates of the image tower."""
        if self.first_gates is not None:
            self.gates[0].values = self.first_gates()

    def step_count(self, shots: int, n_reward_images: int) -> int:
        """Number of search steps: the option's, or 250 per shot, from 500 to 2000."""
        return self.options.search_steps or min(MAX_STEPS, max(MIN_STEPS, STEPS_PER_SHOT * shots))

    def draw(self) -> Choice:
        """Draw a sub-network by the present gates."""
        vision, text = (gates.draw(count) for gates, count in zip(self.gates, self.counts, strict=True))
        return Choice(vision, text)

    def sample(self) -> None:
        """Put a drawn sub-network in place for one training step."""
        self.use(self.draw())

    def reward_is_due(self, step: int, step_count: int) -> bool:
        """Whether step `step`, counted from 0, ends with a reward."""
        done = step + 1 - math.floor(self.options.reward_start * step_count)
        return done > 0 and done % self.options.reward_every == 0

    def candidates(self) -> list[Choice]:
        """Different sub-networks for one reward, all of them if there are fewer than the options ask for."""
        there_are = math.prod(math.comb(depth, count) for depth, count in zip(self.depths, self.counts, strict=True))
        count = min(self.options.candidates, there_are)
        return distinct(self.draw, lambda choice: tuple(tuple(sorted(blocks)) for blocks in choice), count)

    def learn(self, choices: Sequence[Choice], losses: Sequence[float]) -> None:
        """Move the gates by the losses of the candidates, in nats."""
        lost = torch.tensor(losses, dtype=torch.float64)
        if self.options.advantage == "standardised":
            # Subtraction scales all rewards alike, and the division removes that; large losses would underflow.
            lost = lost - lost.min()
        reward = rewards(lost)
        advantage = advantages(reward, self.options.advantage)
        for gates, subsets in zip(self.gates, zip(*choices, strict=True), strict=True):
            gates.learn(subsets, advantage, self.options.eta)

    def result(self, seed: int) -> Architecture:
        """The architecture without the blocks of the largest gates; in a tie, without the later ones."""
        vision, text = (
            TowerPlan(depth, largest(gates.values.tolist(), count), tuple(gates.values.tolist()) if count else ())
            for depth, gates, count in zip(self.depths, self.gates, self.counts, strict=True)
        )
        selected_by = self.options.select + (" with validation images" if self.reward_images == "val" else "")
        return self.finish(Architecture(vision, text, selected_by, (seed,)))

    def merged(self, found: Sequence[Architecture]) -> Architecture:
        """The architecture that several searches agree on."""
        return self.finish(merged(found))

    def settled(self, architecture: Architecture) -> DASConfig:
        """Options for a method that skips the blocks of the architecture."""
        return self.options.with_architecture(architecture)


class GreedySearch(RewardSearch):
    """Greedy choice of the blocks that cost least when skipped alone, untrained: the gates are minus their losses."""

    trains = False

    def __init__(self, config: DASConfig, depths: tuple[int, int], use: Callable[[Choice], None], finish: Finish):
        super().__init__(config, depths, use, finish)
        self.searches = 1

    def step_count(self, shots: int, n_reward_images: int) -> int:
        """Number of batches in the images that are kept for rewards."""
        return math.ceil(n_reward_images / self.reward_batch)

    def reward_is_due(self, step: int, step_count: int) -> bool:
        return True

    def candidates(self) -> list[Choice]:
        """Each block of a tower that is to lose blocks, alone."""
        (vision, text), (skip_vision, skip_text) = self.depths, self.counts
        alone = [Choice((block,), ()) for block in range(vision) if skip_vision]
        return alone + [Choice((), (block,)) for block in range(text) if skip_text]

    def learn(self, choices: Sequence[Choice], losses: Sequence[float]) -> None:
        for choice, loss in zip(choices, losses, strict=True):
            for gates, blocks in zip(self.gates, choice, strict=True):
                for block in blocks:
                    gates.values[block] -= loss
