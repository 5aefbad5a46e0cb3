"""Scores of candidate words: near-duplicates, centroids, limits of alpha, and images that do not see each other."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.texts.cased.scoring import caption_centroid, deduplicate, score

SCALE = torch.tensor(3.0)


def features(count, seed=0):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def test_a_chain_of_near_duplicates_leaves_its_first_caption():
    angles = torch.tensor([1.5, 0.0, 0.3, 0.6, 0.9])  # neighbours are near, and the ends of the chain are not
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert deduplicate(rows[1:], 0.94).tolist() == [0]
    assert deduplicate(rows, 0.94).tolist() == [0, 1]
    assert deduplicate(rows[[1, 2]], threshold=0.3).tolist() == [0]
    assert deduplicate(rows[[1, 2]], threshold=float(rows[1] @ rows[2])).tolist() == [0, 1]  # more, and not as much


def test_an_exact_duplicate_does_not_move_the_centroid():
    rows = F.normalize(features(5), dim=-1)
    doubled = torch.cat([rows, rows[2:3]])
    assert torch.equal(caption_centroid(doubled[deduplicate(doubled)]), caption_centroid(rows))


@pytest.mark.parametrize(("alpha", "part"), [(1.0, "p_image"), (0.0, "p_text")])
def test_alpha_leaves_one_side_alone_at_its_ends(alpha, part):
    scores = score(features(2), features(5, 1), [2, 3], features(6, 2), [4, 2], SCALE, alpha=alpha)
    assert torch.equal(scores.p, getattr(scores, part))
    torch.testing.assert_close(scores.p.sum(dim=1), torch.ones(2))


def test_another_image_in_the_batch_changes_nothing():
    images, captions, words = features(2), features(5, 1), features(6, 2)
    both = score(images, captions, [2, 3], words, [4, 2], SCALE)
    alone = score(images[:1], captions[:2], [2], words[:4], [4], SCALE)
    torch.testing.assert_close(both.p[:1, :4], alone.p)
    assert (both.p[0, 4:] == 0).all()
    assert (both.p[1, :4] == 0).all()


def test_temperatures_of_the_two_sides_are_apart():
    given = features(1), features(2, 1), [2], features(3, 2), [3], SCALE
    both, text_alone = score(*given, tau=2.0), score(*given, tau=1.0, tau_txt=2.0)
    assert torch.equal(both.p_text, text_alone.p_text)
    assert not torch.equal(both.p_image, text_alone.p_image)


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"captions per image are \[2, 2\] for 2 images and 5 captions"):
        score(features(2), features(5), [2, 2], features(6), [4, 2], SCALE)
    with pytest.raises(ValueError, match=r"words per image are \[6, 0\]"):
        score(features(2), features(5), [2, 3], features(6), [6, 0], SCALE)
