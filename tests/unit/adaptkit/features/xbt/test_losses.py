"""The projection and the losses of both stages, against their equations, and what noise is for."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.features.xbt import pair_loss, perturbed, procrustes, start_projection, text_loss
from benchmarks.planted_spaces import planted


def rows(count, width, seed=0):
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def info_nce(a, b, tau=0.07):
    cosines = a @ b.T / tau
    diagonal = cosines.diagonal()
    return -((diagonal - cosines.logsumexp(1)).mean() + (diagonal - cosines.logsumexp(0)).mean()) / 2


@pytest.mark.parametrize("start", ["procrustes", "least_squares"])
def test_the_projection_starts_as_the_best_linear_map(start):
    new, old = rows(60, 8), rows(60, 6, 1)
    phi = start_projection(new, old, start)
    assert (phi.widths, phi.hidden) == ((8, 6), 32)
    torch.testing.assert_close(phi.project(3 * new), F.normalize(new @ phi.skip, dim=-1))
    if start == "procrustes":
        torch.testing.assert_close(phi.skip.data, procrustes(new, old), atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_projection_and_leaves_other_random_numbers_alone():
    new = rows(20, 4)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (start_projection(new, new, hidden=7, seed=3) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


def test_stage_1_is_the_contrast_and_the_squared_distance():
    mapped, old = rows(5, 6), rows(5, 6, 1)
    distance = sum(float((mapped[i] - old[i]).square().sum()) for i in range(5)) / 5
    torch.testing.assert_close(text_loss(mapped, old), info_nce(mapped, old) + distance)
    torch.testing.assert_close(text_loss(mapped, old, lambda_m=0, tau=0.5), info_nce(mapped, old, 0.5))
    torch.testing.assert_close(text_loss(mapped, old, lambda_c=0), torch.tensor(distance))


def test_stage_2_is_three_contrasts():
    images, texts, targets = rows(5, 6), rows(5, 6, 1), rows(5, 6, 2)
    expected = info_nce(images, targets) + info_nce(texts, targets) + info_nce(images, texts)
    torch.testing.assert_close(pair_loss(images, texts, targets), expected)
    torch.testing.assert_close(pair_loss(images, texts, targets, torch.arange(5)), expected)


def test_pairs_of_one_group_are_no_negatives_of_each_other():
    images, targets = rows(4, 6), rows(4, 6, 2)
    images[1], targets[1] = images[0], targets[0]
    own = pair_loss(images, targets, targets, torch.tensor([0, 0, 1, 2]))
    assert own < pair_loss(images, targets, targets)


def test_noise_has_unit_rows_and_the_length_that_was_asked_for():
    clean = rows(2000, 64)
    noisy = perturbed(clean, 1 / 8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy.norm(dim=-1), torch.ones(2000))
    # sigma is uniform up to 1 / sqrt(D), so the squared length of the noise is 1/3 on average, and cos = 1/sqrt(1 + l)
    assert float((clean * noisy).sum(-1).mean()) == pytest.approx(0.881, abs=0.01)
    assert perturbed(clean, 0.0) is clean
    with pytest.raises(ValueError, match=r"sigma_max=-1; expected 0 or more, such as 0\.125"):
        perturbed(clean, -1)


def test_noise_lowers_the_error_of_held_out_images_on_a_planted_gap():
    train, test = planted(seed=1, train=400, test=200)

    def image_error(noise):
        phi = start_projection(train.new.texts, train.old.texts)
        optimizer = torch.optim.AdamW(phi.parameters(), lr=1e-3, weight_decay=1e-4)
        generator = torch.Generator().manual_seed(0)
        for _ in range(80):
            places = torch.randperm(400, generator=generator)[:128]
            noisy = perturbed(train.new.texts[places], noise * train.new.width**-0.5, generator)
            optimizer.zero_grad()
            text_loss(phi.project(noisy), train.old.texts[places]).backward()
            optimizer.step()
        with torch.no_grad():
            return float((phi.project(test.new.images) - test.old.texts).square().sum(-1).mean())

    assert image_error(1.0) < image_error(0.0)
