"""What a training minimises: cross-entropy as the methods have it, and objectives around it."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from adaptkit import Examples, LabelledBatch, Objective, PairBatch, create_method, create_objective, register_objective
from adaptkit.contract.creation import trained_by
from adaptkit.objectives import CrossEntropy
from tests.conftest import CLASSES
from tests.helpers.models import consumed
from tests.helpers.registrations import forget_registrations
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train


@dataclass(frozen=True)
class PullConfig:
    weight: float = 0.5  # of the pull


class Pull(Objective):
    """Adds a pull of a learnt point towards the mean of what the method consumes."""

    def __init__(self, method, inner, config: PullConfig):
        super().__init__(method, inner)
        self.weight, self.point = config.weight, nn.Parameter(torch.zeros(()))

    def loss(self, method, batch) -> Tensor:
        return self.inner.loss(method, batch) + self.weight * (self.point - batch.x.mean() - 1).square()


class Pairs(Objective):
    """An objective of image-text pairs."""

    takes = PairBatch

    def __init__(self, method, inner, config: PullConfig):
        super().__init__(method, inner)

    def loss(self, method, batch) -> Tensor:
        return method.encode_image(batch.images).sum() + method.encode_text(batch.texts).sum()


class Diary(Objective):
    """Asks for the examples, and keeps what it is told."""

    asks_for_examples = True

    def __init__(self, method, inner, config: PullConfig):
        super().__init__(method, inner)
        self.seen: list = []

    def see_examples(self, method, examples) -> None:
        super().see_examples(method, examples)
        self.seen.append(examples.names)

    def loss(self, method, batch) -> Tensor:
        self.seen.append(None if batch.places is None else batch.places.tolist())
        return self.inner.loss(method, batch)


class Clock(Objective):
    """Keeps what it is told of the time, and asks for names of the tests."""

    asks_for_new_names = rests = True

    def __init__(self, method, inner, config: PullConfig):
        super().__init__(method, inner)
        self.told: list = []

    def begin_training(self, step_count) -> None:
        self.told.append(("of", step_count))

    def before_step(self, step) -> None:
        self.told.append(step)

    def after_epoch(self, epoch) -> None:
        self.told.append(("end of", epoch))

    def loss(self, method, batch) -> Tensor:
        return self.inner.loss(method, batch)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    forget_registrations(monkeypatch)
    register_objective("pull", PullConfig)(Pull)
    register_objective("pairs", PullConfig)(Pairs)
    register_objective("diary", PullConfig)(Diary)
    register_objective("clock", PullConfig)(Clock)


@pytest.mark.parametrize("name", ["coop", "kgcoop", "promptsrc", "clap", "linear_probe"])
def test_cross_entropy_is_the_method_s_own_loss(name, tiny_clip, batch):
    torch.manual_seed(0)
    method = create_method(name, tiny_clip, CLASSES)
    x = consumed(method, batch[0])
    objective = create_objective(method)
    assert isinstance(objective, CrossEntropy)
    assert torch.equal(objective.loss(method, LabelledBatch(x, batch[1])), method.loss(x, batch[1]))


def test_without_an_objective_a_method_is_trained_as_it_is(tiny_clip):
    method = create_method("prograd", tiny_clip, CLASSES, n_ctx=4)
    assert trained_by(method) is method
    assert trained_by(method, ["cross_entropy"]) is method


def test_an_objective_stands_around_cross_entropy_and_learns_beside_the_method(tiny_clip, batch):
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=2)
    trained = trained_by(method, [("pull", PullConfig(2.0))])
    x = consumed(method, batch[0])
    expected = method.loss(x, batch[1]) + 2 * (x.mean() + 1).square()
    torch.testing.assert_close(trained.loss(x, batch[1]), expected)
    before = method.learnt_state()
    train(trained, [(x, batch[1])], OptimConfig(epochs=3, lr=0.1, warmup_epochs=0))
    assert trained.objective.point != 0
    assert not torch.equal(method.learnt_state()["context.ctx"], before["context.ctx"])
    assert trained.learnt_state().keys() == method.learnt_state().keys()  # the objective is not saved
    assert "objective.point" in trained.training_state()  # but an interrupted training goes on with it


def test_objectives_compose_the_outermost_first(tiny_clip, batch):
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=2)
    objective = create_objective(method, ["pull", ("pull", PullConfig(1.0))])
    assert (objective.weight, objective.inner.weight) == (0.5, 1.0)
    assert isinstance(objective.inner.inner, CrossEntropy)


def test_pairs_go_to_an_objective_that_takes_them(tiny_clip, batch):
    method = create_method("clip_lora", tiny_clip, None)
    objective = create_objective(method, ["pairs"])
    assert objective.inner is None
    pairs = PairBatch(batch[0][:2], ["a cat", "a dog"], torch.tensor([0, 1]))
    assert objective.loss(method, pairs).requires_grad
    with pytest.raises(ValueError, match="Pairs is trained on PairBatch, and classes give LabelledBatch"):
        trained_by(method, ["pairs"])


def test_a_method_with_gradients_of_its_own_is_refused(tiny_clip):
    method = create_method("prograd", tiny_clip, CLASSES, n_ctx=4)
    with pytest.raises(ValueError, match="ProGrad finds its gradients in its own way"):
        trained_by(method, ["pull"])


def test_names_and_options_that_are_not_an_objective_s_are_refused(tiny_clip):
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=2)
    with pytest.raises(ValueError, match="unknown objective 'pul'; did you mean pull"):
        create_objective(method, ["pul"])
    with pytest.raises(ValueError, match="pull takes its options as PullConfig"):
        create_objective(method, [("pull", 3)])


def test_an_objective_that_asks_is_told_of_all_examples_and_of_the_place_of_each_row(tiny_clip, batch):
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=2)
    assert not create_objective(method, ["pull"]).wants_examples
    trained = trained_by(method, ["pull", "diary"])
    assert trained.objective.wants_examples
    x = consumed(method, batch[0])
    trained.see_examples(Examples(tuple("abcdef"), batch[1], x))
    halves = [(x[rows], batch[1][rows], rows) for rows in (torch.tensor([4, 1, 0]), torch.tensor([2, 3, 5]))]
    train(trained, halves, OptimConfig(epochs=1))
    assert trained.objective.inner.seen == [tuple("abcdef"), [4, 1, 0], [2, 3, 5]]
    trained.loss(x, batch[1])
    assert trained.objective.inner.seen[-1] is None


def test_an_objective_inside_another_is_told_how_far_the_training_is(tiny_clip, batch):
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=2)
    trained, x = trained_by(method, ["pull", "clock"]), consumed(method, batch[0])
    train(trained, [(x, batch[1])] * 2, OptimConfig(epochs=2, warmup_epochs=0))
    assert trained.objective.inner.told == [("of", 4), 0, 1, ("end of", 0), 2, 3, ("end of", 1)]


def test_what_an_objective_inside_another_asks_for_is_known_outside(tiny_clip):
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=2)
    plain, asking = (create_objective(method, names) for names in (["pull"], ["pull", "clock"]))
    assert (plain.wants_new_names, plain.leaves_idle) == (False, False)
    assert (asking.wants_new_names, asking.leaves_idle) == (True, True)
    assert type(plain).facts(PullConfig()) == ()


def test_a_table_of_files_means_images_by_path_or_by_a_name_that_is_theirs_alone():
    examples = Examples(("a/1.jpg", "b/1.jpg", "b/2.jpg", "3.jpg"), torch.zeros(4), torch.zeros(4, 2))
    assert examples.keys_in(["a/1.jpg", "1.jpg", "2.jpg", "c/3.jpg"]) == ("a/1.jpg", None, "2.jpg", None)
    with pytest.raises(ValueError, match="1 names, 2 labels and 2 rows of features"):
        Examples(("a",), torch.zeros(2), torch.zeros(2, 2))


def test_batches_say_what_does_not_fit_together():
    with pytest.raises(ValueError, match="3 examples have labels of shape"):
        LabelledBatch(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="3 examples have places of shape"):
        LabelledBatch(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="2 images, 1 texts and 2 groups"):
        PairBatch(torch.zeros(2, 3, 4, 4), ["a cat"], torch.zeros(2, dtype=torch.int64))
