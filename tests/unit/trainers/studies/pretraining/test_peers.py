"""Processes that share a batch: alone they change nothing, together they give the gradients of the whole batch."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainers.studies.pretraining.contrastive import clip_loss
from trainers.studies.pretraining.peers import Peers, run_peers


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(5, 4), nn.Linear(3, 4)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


def gradients_of_a_step(peers: Peers) -> list[Tensor]:
    model = TwoTowers()
    images, texts, labels = torch.randn(8, 5), torch.randn(8, 3), torch.arange(8) % 6  # TwoTowers seeded the generator
    own = peers.share(8)
    image_features = peers.gather(model.image(images[own]))
    text_features = peers.gather(model.text(texts[own]))
    clip_loss(image_features, text_features, peers.shared(model.logit_scale), labels).backward()
    peers.sum_gradients(model)
    return [p.grad for p in model.parameters() if p.grad is not None]


def save_gradients(folder: Path, peers: Peers) -> None:
    assert peers.agree(float(peers.rank)) == 0.0
    torch.save(gradients_of_a_step(peers), folder / f"{peers.rank}.pt")


@pytest.mark.slow
def test_two_processes_get_the_gradients_of_the_whole_batch(tmp_path: Path) -> None:
    run_peers(functools.partial(save_gradients, tmp_path), 2)
    alone = gradients_of_a_step(Peers())
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(together, alone)


def test_one_process_runs_the_work_here_and_exchanges_nothing(tmp_path: Path) -> None:
    run_peers(functools.partial(save_gradients, tmp_path), 1)
    torch.testing.assert_close(torch.load(tmp_path / "0.pt", weights_only=True), gradients_of_a_step(Peers()))


def test_shares_cover_the_batch_once() -> None:
    rows = [row for rank in range(3) for row in range(12)[Peers(rank, 3).share(12)]]
    assert rows == list(range(12))


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10 .* 3 processes"):
        Peers(0, 3).share(10)
