import pytest
import torch
from torch import Tensor, nn

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, Support, create_method, list_methods
from tests.helpers.models import consumed
from trainers.config.training import OptimConfig
from trainers.training.few_shot import DivergedError, train
from trainers.training.optim import learning_rate

CLASSES = ("cat", "dog", "blue whale")


class Recorder(AdaptedCLIP):
    """One learnt scale, and a diary of what the loop asked of it."""

    consumes = "features"
    provides = frozenset({"prepare", "backward"})

    def __init__(self, backbone: FrozenCLIP, loss_scale: float = 1.0):
        super().__init__(backbone, ClassSet(CLASSES))
        self.scale = nn.Parameter(torch.ones(()))
        self.loss_scale = loss_scale
        self.diary: list[str] = []

    def logits(self, x: Tensor) -> Tensor:
        return self.scale * x[:, : len(self.classes)]

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.loss_scale * nn.functional.cross_entropy(self.logits(x), labels)

    def prepare(self, support: Support) -> None:
        self.diary.append(f"prepare {len(support.labels)}")

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        self.diary.append(f"batch {len(labels)}")
        return super().backward(x, labels)

    def after_epoch(self, epoch: int) -> None:
        self.diary.append(f"epoch {epoch}")


@pytest.fixture
def features(tiny_clip):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(8, tiny_clip.embed_dim, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def test_the_loop_prepares_once_and_tells_of_every_epoch(tiny_clip, features):
    method, done = Recorder(tiny_clip), []
    x, labels = features
    halves = [(x[:5], labels[:5]), (x[5:], labels[5:])]
    log = train(method, halves, OptimConfig(epochs=2), Support(x, labels), on_epoch=done.append)
    assert method.diary == ["prepare 8", "batch 5", "batch 3", "epoch 0", "batch 5", "batch 3", "epoch 1"]
    assert done == [1, 2]
    assert log.steps == 4
    assert len(log.losses) == 2


def test_every_epoch_steps_with_its_own_rate(tiny_clip, features):
    config = OptimConfig(lr=0.1, epochs=3, momentum=0.0, weight_decay=0.0)
    ours, reference = Recorder(tiny_clip), Recorder(tiny_clip)
    train(ours, [features], config)
    for epoch in range(3):
        reference.scale.grad = None
        reference.loss(*features).backward()
        with torch.no_grad():
            reference.scale -= learning_rate(config, epoch) * reference.scale.grad
    assert ours.scale.item() == pytest.approx(reference.scale.item(), rel=1e-6)


def test_steps_without_epochs_are_trained(tiny_clip, features):
    assert train(Recorder(tiny_clip), [features, features], OptimConfig(epochs=0, steps=5)).steps == 5


@pytest.mark.usefixtures("meta_models")
@pytest.mark.parametrize("name", list_methods())
def test_training_leaves_the_backbone_untouched(name, tiny_clip, batch, classes):
    images, labels = batch
    before = [(parameter, parameter.clone()) for parameter in tiny_clip.parameters()]
    method = create_method(name, tiny_clip, classes)
    x = consumed(method, images)
    train(method, [(x, labels)], OptimConfig(epochs=2))
    assert all(torch.equal(parameter, value) for parameter, value in before)


def test_coop_learns_its_batch_from_images_features(tiny_clip, batch, classes):
    images, labels = batch
    method = create_method("coop", tiny_clip, classes, n_ctx=4)
    log = train(method, [(tiny_clip.encode_image(images), labels)], OptimConfig(lr=0.01, epochs=8))
    assert log.losses[-1] < log.losses[0]


def test_a_method_without_learnt_tensors_takes_no_step(tiny_clip, features):
    assert train(create_method("zero_shot", tiny_clip, CLASSES), [features], OptimConfig(epochs=3)).steps == 0


def test_a_loss_that_is_not_finite_stops_and_names_step_and_rate(tiny_clip, features):
    x, labels = features
    bad = [(x, labels), (x * float("nan"), labels)]
    with pytest.raises(DivergedError, match=r"loss is nan at step 1 \(epoch 0, learning rate 1e-05\).*lower OPTIM\.LR"):
        train(Recorder(tiny_clip), bad, OptimConfig(epochs=1))


def test_no_batch_is_refused(tiny_clip):
    with pytest.raises(ValueError, match="no batch to train on"):
        train(Recorder(tiny_clip), [], OptimConfig(epochs=2))


def test_a_number_of_steps_cuts_the_last_epoch(tiny_clip, features):
    method = Recorder(tiny_clip)
    log = train(method, [features, features], OptimConfig(steps=3, epochs=1))
    assert log.steps == 3
    assert method.diary == ["batch 8", "batch 8", "epoch 0", "batch 8", "epoch 1"]


def test_gradients_are_clipped_to_the_norm_that_is_asked_for(tiny_clip, features):
    steps = {}
    for clip_norm in (0.0, 0.01):
        method = Recorder(tiny_clip, loss_scale=100.0)
        config = OptimConfig(lr=1.0, epochs=1, momentum=0.0, weight_decay=0.0, warmup_epochs=0, clip_norm=clip_norm)
        train(method, [features], config)
        steps[clip_norm] = float((1 - method.scale).abs().detach())
    assert steps[0.01] == pytest.approx(0.01, rel=1e-3)
    assert steps[0.0] > 0.1
