import pytest
import torch

from trainers.evaluation.students import consistency, mean_per_class_accuracy


def test_accuracy_over_classes_is_not_that_over_images():
    logits = torch.eye(3)[[0, 0, 0, 0, 0, 1]]
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    assert mean_per_class_accuracy(logits, labels) == pytest.approx(75.0)  # 5 of 6 images; class 2 has none
    assert 100 * float((logits.argmax(dim=-1) == labels).float().mean()) == pytest.approx(100 * 5 / 6)


def test_a_space_is_consistent_with_itself_whatever_its_lengths():
    rows, texts = torch.randn(30, 8), torch.randn(5, 8)
    found = consistency(3 * rows, rows, texts)
    assert found.mean_cosine == pytest.approx(1, abs=1e-6)
    assert (found.neighbours, found.agreement) == (1.0, 100.0)
    assert found.class_spearman == pytest.approx(1)


def test_the_measures_are_those_of_their_names():
    theirs = torch.eye(4)
    ours = theirs[[1, 0, 3, 2]]
    texts = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    found = consistency(ours, theirs, texts)
    assert found.mean_cosine == 0
    assert found.agreement == 0


def test_neighbours_are_counted_without_the_image_itself():
    line = torch.linspace(0, 1, 24)
    rows = torch.stack([line.cos(), line.sin()], dim=1)
    turned = torch.stack([(line + 1).cos(), (line + 1).sin()], dim=1)
    assert consistency(rows, turned, torch.randn(3, 2)).neighbours == 1.0
    shuffled = rows[torch.randperm(24, generator=torch.Generator().manual_seed(0))]
    assert consistency(rows, shuffled, torch.randn(3, 2)).neighbours < 0.6


def test_spaces_of_different_shapes_and_single_images_are_refused():
    with pytest.raises(ValueError, match=r"features of shapes \(4, 3\) and \(4, 2\)"):
        consistency(torch.randn(4, 3), torch.randn(4, 2), torch.randn(2, 3))
    with pytest.raises(ValueError, match="1 images and 2 classes"):
        consistency(torch.randn(1, 3), torch.randn(1, 3), torch.randn(2, 3))
