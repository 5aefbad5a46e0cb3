"""A training that is interrupted after any step and started again ends with the same bits, whatever the method."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method, list_methods
from tests.conftest import CLASSES
from tests.helpers.models import consumed
from trainers.compute.seeds import seeded
from trainers.config.settings import CheckpointConfig
from trainers.config.training import OptimConfig
from trainers.training.checkpoints import Checkpoints
from trainers.training.few_shot import train

EVERY_STEP = CheckpointConfig(seconds=0, steps=1)
ADAM = OptimConfig(name="adamw", lr=1e-3, epochs=2)


class Killed(Exception):
    """Stands for SIGKILL."""


class Mortal(Checkpoints):
    """Ends the training right after the checkpoint of one step."""

    last_step = 0

    def save(self, snapshot):
        super().save(snapshot)
        if snapshot.steps == self.last_step:
            raise Killed


class Pairs:
    """Four batches of two in another order every epoch."""

    def __init__(self, x, labels):
        self.x, self.labels, self.epoch, self.skip = x, labels, 0, 0

    def __len__(self):
        return 4

    def seek(self, epoch, batch):
        self.epoch, self.skip = epoch, batch

    def __iter__(self):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(self.epoch)).split(2)
        skip, self.skip, self.epoch = self.skip, 0, self.epoch + 1
        yield from ((self.x[rows], self.labels[rows]) for rows in order[skip:])


@pytest.fixture(scope="module")
def images():
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), labels


def run(name, backbone, images, checkpoints, optim=ADAM, wrap=()):
    """What a run of the method does: made, prepared and trained under one seed."""
    x, labels = images
    with seeded(3, torch.device("cpu")):
        method = create_method(name, backbone, CLASSES, wrap=wrap)
        x = consumed(method, x)
        log = train(method, Pairs(x, labels), optim, Support(x, labels), checkpoints=checkpoints)
        return method.learnt_state(), log.losses, log.steps, torch.rand(1)


@pytest.mark.parametrize("name", list_methods())
def test_an_interrupted_training_ends_with_the_same_bits(name, tiny_clip, images, tmp_path):
    learnt, losses, total, drawn = run(name, tiny_clip, images, None)
    if not total:
        pytest.skip(f"{name} takes no step")
    for last_step in (3, 4):  # amid an epoch, and the last of one
        mortal = Mortal(tmp_path / str(last_step), "run", EVERY_STEP)
        mortal.last_step = last_step
        with pytest.raises(Killed):
            run(name, tiny_clip, images, mortal)
        again = run(name, tiny_clip, images, Checkpoints(tmp_path / str(last_step), "run", EVERY_STEP))
        assert again[1:] == (losses, total, drawn), last_step
        assert again[0].keys() == learnt.keys()
        assert all(torch.equal(again[0][key], learnt[key]) for key in learnt), last_step


def test_momentum_goes_on_too(tiny_clip, images, tmp_path):
    sgd = OptimConfig(lr=0.1, epochs=3, warmup_epochs=0)
    learnt, *_ = run("coop", tiny_clip, images, None, sgd)
    mortal = Mortal(tmp_path, "run", EVERY_STEP)
    mortal.last_step = 6
    with pytest.raises(Killed):
        run("coop", tiny_clip, images, mortal, sgd)
    again, *_ = run("coop", tiny_clip, images, Checkpoints(tmp_path, "run", EVERY_STEP), sgd)
    assert torch.equal(again["context.ctx"], learnt["context.ctx"])


def test_checkpoints_do_not_change_a_training(tiny_clip, images, tmp_path):
    plain = run("maple", tiny_clip, images, None)
    kept = run("maple", tiny_clip, images, Checkpoints(tmp_path, "run", EVERY_STEP))
    assert kept[1:] == plain[1:]
    assert all(torch.equal(kept[0][key], value) for key, value in plain[0].items())


@pytest.mark.parametrize("name", list_methods())
def test_a_training_on_several_labels_ends_with_the_same_bits(name, tiny_clip, images, tmp_path):
    x, labels = images
    one = F.one_hot(labels, len(CLASSES)).float()
    several = x, one.maximum(one.roll(1, dims=0))  # its own label and that of the image before
    try:
        create_method(name, tiny_clip, CLASSES, wrap=["multi_label"])
    except ValueError:
        pytest.skip(f"{name} learns one class of each image")
    learnt, *rest = run(name, tiny_clip, several, None, wrap=["multi_label"])
    if not rest[1]:
        pytest.skip(f"{name} takes no step")
    mortal = Mortal(tmp_path, "run", EVERY_STEP)
    mortal.last_step = 5
    with pytest.raises(Killed):
        run(name, tiny_clip, several, mortal, wrap=["multi_label"])
    again, *others = run(name, tiny_clip, several, Checkpoints(tmp_path, "run", EVERY_STEP), wrap=["multi_label"])
    assert others == rest
    assert again.keys() == learnt.keys()
    assert all(torch.equal(again[key], learnt[key]) for key in learnt)
