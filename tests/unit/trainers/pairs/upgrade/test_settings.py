"""Settings of an upgrade: steps by the number of texts, rates by what learns, refusals."""

import pytest

from trainers.pairs.upgrade.settings import XBTConfig


@pytest.mark.parametrize(("texts", "batch"), [(40, 40), (1000, 64), (50_000, 2000), (1_000_000, 4096)])
def test_batches_of_texts_go_by_their_number(texts, batch):
    assert XBTConfig().text_optim(texts).batch_size == batch
    assert XBTConfig(batch_size=16).text_optim(texts).batch_size == 16


def test_low_rank_updates_take_a_larger_rate_unless_one_is_given():
    assert XBTConfig(stage2="phi_image").pair_optim(500).lr == 1e-4
    assert XBTConfig(stage2="lora").pair_optim(500).lr == 2e-3
    assert XBTConfig(stage2="lora", pair_lr=0.5).pair_optim(50).batch_size == 50


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"noise": ()}, "give one number or more"),
        ({"noise": (1.0, -1.0)}, "each 0 or larger"),
        ({"lambda_c": 0.0, "lambda_m": 0.0}, "stage 1 has no loss"),
        ({"stage2": "soft_prompts"}, "stage2"),
    ],
)
def test_nonsense_is_refused(options, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        XBTConfig(**options)
