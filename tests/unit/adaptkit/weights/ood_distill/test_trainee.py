import pytest
import torch

from adaptkit import ClassSet, load_backbone
from adaptkit.weights.ood_distill import DistillationLossConfig, StudentInTraining, StudentTower, plan_for

CLASSES = ClassSet(("corgi", "violin", "ramen"))


@pytest.fixture(scope="module")
def teacher():
    return load_backbone("adaptkit-mini")


def trainee(teacher, config=DistillationLossConfig(), size=None, **kwargs):  # noqa: B008 - frozen
    tower = StudentTower(plan_for(teacher, "test_vit", size))
    return StudentInTraining(teacher, CLASSES, tower, config, **kwargs)


def test_the_student_alone_learns(teacher):
    method = trainee(teacher)
    before = teacher.weights_hash
    assert {name.partition(".")[0] for name in method.learnt_parameters()} == {"tower"}
    optimizer = torch.optim.SGD(method.learnt_parameters().values(), lr=0.01)
    images, labels, losses = torch.randn(6, 3, 48, 48), torch.arange(6) % 3, []
    for _ in range(6):
        optimizer.zero_grad()
        losses.append(method.backward(images, labels))
        optimizer.step()
    assert losses[-1] < losses[0]
    assert teacher.weights_hash == before


def test_a_student_in_training_is_in_training_mode_and_its_teacher_is_not(teacher):
    method = trainee(teacher).train()
    assert method.tower.training
    assert not teacher.model.visual.training


def test_places_choose_the_teachers_features_and_the_captions(teacher):
    features, captions = torch.randn(5, 128), torch.randn(5, 128)
    config = DistillationLossConfig(cls=0, im_cst=0, vlalign=0, cap=1)
    method = trainee(teacher, config, teacher_features=features, caption_features=captions)
    images, labels, places = torch.randn(2, 3, 48, 48), torch.tensor([0, 1]), torch.tensor([4, 2])
    other = trainee(teacher, config, teacher_features=features[places], caption_features=captions[places])
    other.load_learnt_state(method.learnt_state())
    found, expected = method.loss(images, labels, places), other.loss(images, labels, torch.arange(2))
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="needs the places of the images"):
        method.loss(images, labels)


def test_without_places_the_teacher_sees_the_students_views(teacher):
    method = trainee(teacher)
    pixels = torch.rand(3, 3, 48, 48)
    mine, theirs = (torch.tensor(cfg).view(3, 1, 1) for cfg in (method.tower.plan.mean, method.tower.plan.std))
    cfg = teacher.preprocess_cfg
    own = (pixels - torch.tensor(cfg.mean).view(3, 1, 1)) / torch.tensor(cfg.std).view(3, 1, 1)
    found = method.teacher_of_views((pixels - mine) / theirs)
    torch.testing.assert_close(found, teacher.encode_image(own), rtol=1e-4, atol=1e-5)


def test_views_of_another_size_are_resized_for_the_teacher(teacher):
    method = trainee(teacher, size=64)
    assert method.teacher_of_views(torch.randn(2, 3, 64, 64)).shape == (2, 128)
    assert method.loss(torch.randn(2, 3, 64, 64), torch.tensor([0, 1])).isfinite()


def test_captions_that_a_loss_needs_and_features_of_another_width_are_refused(teacher):
    with pytest.raises(ValueError, match="no captions of the images"):
        trainee(teacher, DistillationLossConfig(cap=1))
    with pytest.raises(ValueError, match="have 64 numbers and the teacher's texts 128"):
        trainee(teacher, teacher_features=torch.randn(4, 64))
