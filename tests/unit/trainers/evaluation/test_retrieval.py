"""Scores of retrieval are those of a plain reference; ties count against the model; blocks change nothing."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from trainers.evaluation.retrieval import PairScores, RetrievalScores, folds, pair_scores


def drawn(seed: int, images: int = 40, texts: int = 90, width: int = 12) -> tuple[torch.Tensor, ...]:
    """Features with what they share, and an unequal number of texts for each image, none for some."""
    generator = torch.Generator().manual_seed(seed)
    of_images = torch.randn(images, width, generator=generator)
    image_of_text = torch.randint(0, images, (texts,), generator=generator)
    of_texts = of_images[image_of_text] + 1.2 * torch.randn(texts, width, generator=generator)
    return of_images, of_texts * torch.rand(texts, 1, generator=generator), image_of_text


def plain(queries: np.ndarray, gallery: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """One direction without ties, query by query: cosines, a full sort, and the definitions as they are written."""
    firsts, precisions = [], []
    for query, right in zip(queries, relevant, strict=True):
        if not right.any():
            continue
        order = np.argsort(-(gallery @ query))
        hits = right[order]
        firsts.append(1 + int(hits.argmax()))
        found = [hits[: rank + 1].mean() for rank in range(min(10, len(hits))) if hits[rank]]
        precisions.append(sum(found) / min(10, right.sum()))
    ranks = np.array(firsts)
    recalls = {f"R@{k}": 100 * (ranks <= k).mean() for k in (1, 5, 10)}
    return {**recalls, "median": np.median(ranks), "mAP@10": 100 * np.mean(precisions), "queries": len(ranks)}


def said(scores: RetrievalScores) -> dict[str, float]:
    recalls = {f"R@{k}": value for k, value in scores.recall.items()}
    precision = scores.mean_average_precision[10]
    return {**recalls, "median": scores.median_rank, "mAP@10": precision, "queries": scores.queries}


def rows(features: torch.Tensor) -> np.ndarray:
    values = features.double().numpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_both_directions_are_those_of_the_plain_reference(seed):
    images, texts, own = drawn(seed)
    scores = pair_scores(images, texts, own)
    relevant = own.numpy()[:, None] == np.arange(len(images))
    assert said(scores.text_to_image) == pytest.approx(plain(rows(texts), rows(images), relevant))
    assert said(scores.image_to_text) == pytest.approx(plain(rows(images), rows(texts), relevant.T))
    recalls = [*scores.text_to_image.recall.values(), *scores.image_to_text.recall.values()]
    assert scores.rsum == pytest.approx(sum(recalls))


def test_mean_average_precision_over_a_gallery_of_ten_is_that_of_scikit_learn():
    images, texts, own = drawn(1, images=4, texts=10)
    cosines = rows(images) @ rows(texts).T
    expected = [average_precision_score(own.numpy() == image, cosines[image]) for image in own.unique().tolist()]
    found = pair_scores(images, texts, own).image_to_text.mean_average_precision[10]
    assert found == pytest.approx(100 * np.mean(expected))


@pytest.mark.parametrize("chunk", [1, 7, 40, 89])
def test_the_size_of_blocks_changes_nothing(chunk):
    images, texts, own = drawn(2)
    assert pair_scores(images, texts, own, chunk) == pair_scores(images, texts, own)


def test_a_feature_that_is_the_same_for_everything_finds_nothing():
    own = torch.arange(50).repeat_interleave(5)
    direction = torch.randn(64)
    scores = pair_scores(direction.expand(50, 64), direction.expand(250, 64) * 3.7, own)
    assert scores.rsum == 0
    assert scores.text_to_image.median_rank == 50
    assert scores.image_to_text.median_rank == 246  # all 245 texts of other images stand before
    assert scores.image_to_text.mean_average_precision == {10: 0}


def test_features_that_are_all_zero_find_nothing():
    assert pair_scores(torch.zeros(30, 8), torch.zeros(30, 8), torch.arange(30)).rsum == 0


def test_a_wrong_image_that_equals_the_right_one_stands_before_it_wherever_it_is():
    text = torch.tensor([[1.0, 0.0]])
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for right in (0, 1):
        scores = pair_scores(images, text, torch.tensor([right])).text_to_image
        assert scores.median_rank == 2
        assert scores.recall == {1: 0, 5: 100, 10: 100}


def test_two_equal_texts_of_one_image_do_not_stand_in_each_others_way():
    images = torch.eye(2)
    scores = pair_scores(images, images[[0, 0, 1]], torch.tensor([0, 0, 1])).image_to_text
    assert scores.recall[1] == 100
    assert scores.mean_average_precision[10] == pytest.approx(100)


def test_an_image_is_found_by_any_of_its_texts():
    images = torch.eye(20)
    texts = torch.cat([images, torch.randn(80, 20)])
    own = torch.cat([torch.arange(20), torch.arange(20).repeat(4)])
    assert pair_scores(images, texts, own).image_to_text.recall[1] == 100


def test_an_image_without_texts_asks_nothing_and_stands_in_the_way():
    images, texts = torch.eye(3), torch.tensor([[1.0, 0.0, 2.0]])
    scores = pair_scores(images, texts, torch.tensor([0]))
    assert (scores.text_to_image.queries, scores.image_to_text.queries) == (1, 1)
    assert scores.text_to_image.median_rank == 2


def test_half_precision_is_ranked_as_the_same_numbers_in_single_precision():
    images, texts, own = drawn(3)
    images, texts = images.half(), texts.half()
    assert pair_scores(images, texts, own) == pair_scores(images.float(), texts.float(), own)


def test_folds_are_the_means_of_each_folds_own_scores():
    images, texts, own = drawn(4)
    parts: list[PairScores] = []
    for start in range(0, 40, 8):
        inside = (own >= start) & (own < start + 8)
        parts.append(pair_scores(images[start : start + 8], texts[inside], own[inside] - start))
    scores = folds(images, texts, own, images=8)
    assert scores.rsum == pytest.approx(np.mean([one.rsum for one in parts]))
    assert scores.text_to_image.median_rank == np.mean([one.text_to_image.median_rank for one in parts])
    assert scores.text_to_image.queries == 90


def test_one_fold_of_all_images_is_no_fold():
    images, texts, own = drawn(5)
    assert folds(images, texts, own, images=40) == pair_scores(images, texts, own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_features": torch.zeros(0, 12)}, r"image_features has shape \(0, 12\)"),
        ({"text_features": torch.zeros(90)}, r"text_features has shape \(90,\)"),
        ({"text_features": torch.zeros(90, 5)}, "12 wide and text features 5"),
        ({"image_features": torch.full((40, 12), torch.nan)}, "not finite"),
        ({"image_features": torch.zeros(40, 12, dtype=torch.int64)}, "int64.*not finite floats"),
        ({"image_of_text": torch.zeros(3, dtype=torch.int64)}, r"shape \(3,\); expected int64 of shape \(90,\)"),
        ({"image_of_text": torch.zeros(90)}, "float32"),
        ({"image_of_text": torch.full((90,), 40)}, "from 40 to 40; expected 0 to 39"),
        ({"image_of_text": torch.full((90,), -1)}, "from -1 to -1"),
        ({"chunk": 0}, "chunk=0"),
    ],
)
def test_what_does_not_belong_together_is_refused(change, message):
    images, texts, own = drawn(0)
    given = {"image_features": images, "text_features": texts, "image_of_text": own, **change}
    with pytest.raises(ValueError, match=message):
        pair_scores(**given)


@pytest.mark.parametrize("size", [0, 7])
def test_folds_that_are_not_whole_are_refused(size):
    with pytest.raises(ValueError, match=f"40 images do not make folds of {size}"):
        folds(*drawn(0), images=size)


def test_a_fold_without_texts_is_refused():
    images, texts, _ = drawn(0)
    with pytest.raises(ValueError, match="images 20 to 39 has no texts"):
        folds(images, texts, torch.zeros(90, dtype=torch.int64), images=20)
