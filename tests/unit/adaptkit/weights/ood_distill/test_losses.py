import pytest
import torch
import torch.nn.functional as F

from adaptkit.weights.ood_distill import (
    DistillationLossConfig,
    alignment_loss,
    caption_loss,
    distance_loss,
    distillation_terms,
    image_contrast_loss,
)

TERMS = ("cls", "mse", "im_cst", "vlalign", "cap")


@pytest.fixture
def rows():
    draw = torch.Generator().manual_seed(1)
    student, teacher, captions = (torch.randn(8, 6, generator=draw) for _ in range(3))
    return student, teacher, torch.randn(4, 6, generator=draw), torch.arange(8) % 4, captions


def test_a_student_that_is_its_teacher_has_no_distance_and_no_misalignment(rows):
    _, teacher, texts, _, _ = rows
    for form in ("unit", "raw"):
        assert distance_loss(teacher, teacher, form) == 0
    assert distance_loss(3 * teacher, teacher) == pytest.approx(0, abs=1e-6)
    assert alignment_loss(teacher, teacher, texts, 0.07, 3) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("k", [4, 256])
def test_all_texts_make_the_full_divergence(rows, k):
    student, teacher, texts, _, _ = rows
    student, teacher, texts = (F.normalize(each, dim=-1) for each in (student, teacher, texts))
    target = (teacher @ texts.T / 0.07).softmax(dim=-1)
    full = (target * (target.log() - (student @ texts.T / 0.07).log_softmax(dim=-1))).sum(dim=-1).mean()
    torch.testing.assert_close(alignment_loss(student, teacher, texts, 0.07, k), full)


def test_the_filter_removes_exactly_the_teachers_errors(rows):
    student, teacher, texts, labels, _ = rows
    right = (F.normalize(teacher, dim=-1) @ F.normalize(texts, dim=-1).T).argmax(dim=-1) == labels
    assert 0 < right.sum() < len(right)
    kept = alignment_loss(student, teacher, texts, 0.07, 3, labels)
    torch.testing.assert_close(kept, alignment_loss(student[right], teacher[right], texts, 0.07, 3))


def test_a_batch_that_the_filter_empties_has_loss_zero_and_a_gradient(rows):
    student, teacher, texts, _, _ = rows
    wrong = ((F.normalize(teacher, dim=-1) @ F.normalize(texts, dim=-1).T).argmax(dim=-1) + 1) % 4
    student = student.clone().requires_grad_()
    loss = alignment_loss(student, teacher, texts, 0.07, 3, wrong)
    loss.backward()
    assert loss == 0
    assert (student.grad == 0).all()


@pytest.mark.parametrize("term", TERMS)
def test_each_term_runs_alone_and_its_weight_multiplies_it(rows, term):
    student, teacher, texts, labels, captions = rows
    alone = {name: 0.0 for name in TERMS}
    one, two = (
        distillation_terms(student, teacher, texts, labels, DistillationLossConfig(**{**alone, term: weight}), captions)
        for weight in (1.0, 2.5)
    )
    assert list(one) == [term]
    torch.testing.assert_close(two[term], 2.5 * one[term])


def test_captions_of_the_same_class_are_no_negatives(rows):
    student, _, _, labels, captions = rows
    one, same = caption_loss(student[:2], captions[:2], labels[:2]), caption_loss(student[:1], captions[:1], labels[:1])
    assert one > 0 == same
    assert caption_loss(student[:2], captions[:2], torch.zeros(2, dtype=torch.int64)) == 0


def test_one_direction_of_the_contrast_is_from_the_student(rows):
    student, teacher, _, _, _ = rows
    single, reverse = (image_contrast_loss(*pair, 0.07, "single") for pair in ((student, teacher), (teacher, student)))
    torch.testing.assert_close(image_contrast_loss(student, teacher, 0.07), (single + reverse) / 2)


def test_captions_are_divided_by_tau_unless_the_released_form_is_asked_for(rows):
    student, teacher, texts, labels, captions = rows
    found = {}
    for scale, tau in (("tau", 0.07), ("none", 1.0)):
        config = DistillationLossConfig(cls=0, mse=0, im_cst=0, vlalign=0, cap=1, cap_scale=scale)
        found[scale] = distillation_terms(student, teacher, texts, labels, config, captions)["cap"]
        torch.testing.assert_close(found[scale], caption_loss(student, captions, labels, tau))
    assert found["tau"] != found["none"]


def test_a_student_of_another_width_is_refused(rows):
    student, teacher, texts, labels, _ = rows
    with pytest.raises(ValueError, match=r"student's features have 5 numbers and the teacher's texts 6"):
        distillation_terms(student[:, :5], teacher, texts, labels, DistillationLossConfig())


def test_captions_that_are_missing_and_losses_that_are_nothing_are_refused(rows):
    student, teacher, texts, labels, _ = rows
    with pytest.raises(ValueError, match=r"cap=1.0 and there are no captions"):
        distillation_terms(student, teacher, texts, labels, DistillationLossConfig(cap=1.0))
    with pytest.raises(ValueError, match="all 0; give one term or more a weight"):
        DistillationLossConfig(cls=0, mse=0, im_cst=0, vlalign=0)
    with pytest.raises(ValueError, match="tau=0"):
        DistillationLossConfig(tau=0.0)
