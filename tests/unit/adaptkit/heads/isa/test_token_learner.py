import pytest
import torch

from adaptkit.heads.isa import PooledWords, TokenLearner

TOKENS = torch.randn(3, 10, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_rows_of_attention_sum_to_one_over_positions(layers):
    words, attention = TokenLearner(12, 4, 8, 16, layers)(TOKENS)
    assert words.shape == (3, 4, 8)
    assert attention.shape == (3, 4, 10)
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(3, 4))


def test_a_word_is_made_of_the_values_that_its_map_looks_at():
    learner = TokenLearner(12, 2, 8, 16, layers=0)
    with torch.no_grad():
        _, attention = learner(TOKENS)
        values = learner.values(learner.norm(TOKENS))  # (B, P, hidden)
        by_hand = learner.out(sum(attention[:, :, place, None] * values[:, None, place] for place in range(10)))
        torch.testing.assert_close(learner(TOKENS)[0], by_hand)


@pytest.mark.parametrize("kind", [TokenLearner, PooledWords])
def test_one_token_is_one_pseudo_word(kind):
    words, attention = kind(12, 1, 8, 16)(TOKENS)
    assert words.shape == (3, 1, 8)
    assert attention.shape == (3, 1, 10)


def test_words_by_an_mlp_depend_on_the_mean_of_the_normed_tokens_alone():
    learner = PooledWords(12, 2, 8, 16)
    with torch.no_grad():
        words, attention = learner(TOKENS)
        torch.testing.assert_close(learner(TOKENS.flip(1))[0], words)
    torch.testing.assert_close(attention, torch.full((3, 2, 10), 0.1))


@pytest.mark.parametrize("kind", [TokenLearner, PooledWords])
def test_words_start_as_wide_as_token_embeddings(kind):
    torch.manual_seed(0)
    words, _ = kind(12, 4, 64, 64, spread=0.01)(torch.randn(64, 10, 12))
    assert 0.002 < float(words.detach().std()) < 0.05
