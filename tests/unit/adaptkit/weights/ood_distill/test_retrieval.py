import math

import pytest
import torch
import torch.nn.functional as F

from adaptkit.weights.ood_distill import retrieval_logits, zero_shot_logits


def test_keys_add_to_the_cosines_of_their_class():
    texts = F.normalize(torch.randn(3, 5), dim=-1)
    student = torch.randn(2, 5)
    keys = F.normalize(student, dim=-1)[:1].expand(3, 4, 5).clone()
    keys[1:] *= -1
    logits, plain = retrieval_logits(student[:1], texts, keys), zero_shot_logits(student[:1], texts, tau=1.0)
    expected = torch.tensor([4.0, 4 * math.exp(-11.0), 4 * math.exp(-11.0)])
    torch.testing.assert_close((logits - plain)[0], expected)


@pytest.mark.parametrize("shape", [(2, 4, 5), (3, 4, 6), (3, 5)])
def test_keys_of_other_classes_or_widths_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(3, M, 5\), M of each class"):
        retrieval_logits(torch.randn(2, 5), torch.randn(3, 5), torch.randn(shape))
