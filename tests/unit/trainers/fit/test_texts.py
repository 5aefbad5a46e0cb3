"""Training on texts: with a head's own transfer, with one beside it, and with images among the texts."""

import pytest
import torch
from torch import Tensor

from adaptkit import create_head
from adaptkit.heads.close.transfer import Transfer, TransferOptions
from trainers.fit.texts import TextTraining, train_on_texts

FAST = TextTraining(epochs=30, lr=1e-2, batch_size=8)


def planted(width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(8)
    centres = torch.randn(3, width, generator=generator)
    return centres[labels] + 0.1 * torch.randn(24, width, generator=generator), labels


def test_a_head_learns_and_is_left_in_eval_mode(tiny_clip):
    head = create_head("close", tiny_clip, classnames=("a", "b", "c"))
    texts, labels = planted(tiny_clip.embed_dim)
    losses = train_on_texts(head, texts, labels, FAST)
    assert len(losses) == 30
    assert losses[-1] < losses[0]
    assert not head.training
    assert (head.text_outputs(texts).argmax(dim=-1) == labels).all()


def test_the_same_seed_gives_the_same_head_and_leaves_the_generator_alone(tiny_clip):
    texts, labels = planted(tiny_clip.embed_dim)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        head = create_head("close", tiny_clip, classnames=("a", "b", "c"))
        before = torch.get_rng_state()
        train_on_texts(head, texts, labels, TextTraining(epochs=2, batch_size=8, seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
        found.append(head.layers[0].weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_images_teach_what_no_text_says(tiny_clip):
    head = create_head("close", tiny_clip, classnames=("a", "b", "c"))
    rows, labels = planted(tiny_clip.embed_dim)
    seen = labels < 2
    train_on_texts(head, rows[seen], labels[seen], FAST, rows[~seen], labels[~seen])
    assert (head.outputs(rows).argmax(dim=-1) == labels).all()


def test_grades_are_learnt_by_a_head_that_knows_nothing_of_texts(tiny_clip):
    head = create_head("uniqa_adapter", tiny_clip, worst=1.0, best=5.0, up_scale=0.01)
    texts, labels = planted(tiny_clip.embed_dim)
    grades = torch.tensor([1.0, 3.0, 5.0])[labels]
    transfer = Transfer(TransferOptions(sigma=0.02), tiny_clip.embed_dim)
    losses = train_on_texts(head, texts, grades, FAST, transfer=transfer)
    assert losses[-1] < 0.5 * losses[0]
    assert not transfer.training


def test_what_does_not_belong_together_is_refused(tiny_clip):
    head, width = create_head("close", tiny_clip), tiny_clip.embed_dim
    texts, labels = torch.randn(4, width), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="4 features and 3 targets"):
        train_on_texts(head, texts, labels[:3], FAST)
    with pytest.raises(ValueError, match="0 features and 0 targets; give one or more texts"):
        train_on_texts(head, texts[:0], labels[:0], FAST)
    with pytest.raises(ValueError, match="4 images have no targets"):
        train_on_texts(head, texts, labels, FAST, texts)
    with pytest.raises(ValueError, match="4 images have 2 targets"):
        train_on_texts(head, texts, labels, FAST, texts, labels[:2])
    with pytest.raises(ValueError, match=r"images have rows of \(5,\) and texts of"):
        train_on_texts(head, texts, labels, FAST, torch.randn(2, 5), labels[:2])
    with pytest.raises(ValueError, match="Close has a transfer in its options"):
        train_on_texts(head, texts, labels, FAST, transfer=Transfer(TransferOptions(), width))
    with pytest.raises(ValueError, match="UniQAAdapter has no transfer of its own"):
        train_on_texts(create_head("uniqa_adapter", tiny_clip), texts, labels.float(), FAST)
