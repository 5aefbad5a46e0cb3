import pytest
import torch

from adaptkit.heads.isa import image_only, slerp, summed, text_only

IMAGES, TEXTS = torch.randn(5, 8), torch.randn(5, 8)


@pytest.mark.parametrize("way", [image_only, text_only, summed, slerp])
def test_queries_are_of_unit_length_whatever_the_features_are(way):
    queries = way(IMAGES, TEXTS)
    torch.testing.assert_close(queries.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(way(3 * IMAGES, 0.1 * TEXTS), queries)


def test_the_arc_ends_in_image_and_text_and_its_middle_is_the_sum():
    torch.testing.assert_close(slerp(IMAGES, TEXTS, 0.0), image_only(IMAGES, TEXTS))
    torch.testing.assert_close(slerp(IMAGES, TEXTS, 1.0), text_only(IMAGES, TEXTS))
    torch.testing.assert_close(slerp(IMAGES, TEXTS), summed(IMAGES, TEXTS))


def test_the_arc_divides_the_angle():
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    found = slerp(first, second, 1 / 3)
    torch.testing.assert_close(found, torch.tensor([[3**0.5 / 2, 0.5]]))


def test_features_that_are_alike_have_an_arc_of_no_length():
    torch.testing.assert_close(slerp(IMAGES, IMAGES, 0.3), image_only(IMAGES, IMAGES))
