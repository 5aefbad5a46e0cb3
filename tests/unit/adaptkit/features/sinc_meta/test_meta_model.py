"""The meta-model on its own: sets, padding, slots, and that it learns to read demonstrations."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.features.sinc_meta import Context, EpisodeMix, Labelling, MetaModel, MetaShape, Pool, draw_batch

DIM = 16
SHAPE = MetaShape(dim=DIM, width=32, layers=2, heads=2, mlp_ratio=2, slots=8)


def counting(shape=SHAPE):
    """A meta-model at random whose scores count."""
    model = MetaModel(shape)
    with torch.no_grad():
        model.raw_gamma.fill_(0.03)
    return model.requires_grad_(False)


def episode():
    """Two episodes of three classes with four demonstrations, and five queries each."""
    generator = torch.Generator().manual_seed(0)

    def unit(*shape):
        return F.normalize(torch.randn(*shape, DIM, generator=generator), dim=-1)

    labels, slots = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]]), torch.tensor([[4, 0, 7], [1, 2, 3]])
    return Context(unit(2, 4), labels, unit(2, 3), slots), unit(2, 5)


def test_demonstrations_are_a_set():
    model, (context, queries) = counting(), episode()
    order = [2, 0, 3, 1]
    permuted = Context(context.demos[:, order], context.labels[:, order], context.texts, context.slots)
    torch.testing.assert_close(model(permuted, queries), model(context, queries), rtol=0, atol=1e-5)


def test_classes_that_change_places_with_their_slots_permute_the_scores():
    model, (context, queries) = counting(), episode()
    order = torch.tensor([2, 0, 1])
    permuted = Context(context.demos, order.argsort()[context.labels], context.texts[:, order], context.slots[:, order])
    torch.testing.assert_close(model(permuted, queries), model(context, queries)[..., order], rtol=0, atol=1e-5)


def test_slots_tie_demonstrations_to_classes():
    model, (context, queries) = counting(), episode()
    relabelled = Context(context.demos, context.labels.flip(1), context.texts, context.slots)
    assert not torch.allclose(model(relabelled, queries), model(context, queries), atol=1e-3)


def test_padding_has_no_effect():
    model, (context, queries) = counting(), episode()
    padded = Context(
        F.pad(context.demos, (0, 0, 0, 3), value=9.0),
        F.pad(context.labels, (0, 3), value=-1),
        F.pad(context.texts, (0, 0, 0, 2), value=9.0),
        F.pad(context.slots, (0, 2), value=-1),
    )
    torch.testing.assert_close(model(padded, queries)[..., :3], model(context, queries), rtol=0, atol=1e-5)


def test_queries_do_not_see_each_other():
    model, (context, queries) = counting(), episode()
    torch.testing.assert_close(model(context, queries[:, 1:2]), model(context, queries)[:, 1:2], rtol=0, atol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="heads=3"):
        MetaShape(width=32, heads=3)


def toy_pool(seed, classes=40):
    """Images in clusters, and texts at random, so that only demonstrations say what a class is."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(6)
    centres, noise = torch.randn(classes, DIM, generator=generator), torch.randn(len(labels), DIM, generator=generator)
    texts = torch.randn(classes, DIM, generator=generator)
    images = F.normalize(centres[labels] + 0.3 * noise, dim=-1)
    return Pool(images[:, None], (Labelling(torch.arange(len(labels)), labels, F.normalize(texts, dim=-1)),))


@pytest.mark.slow
def test_it_learns_to_read_demonstrations_of_classes_it_never_saw():
    torch.manual_seed(0)
    model, learnt = MetaModel(SHAPE), toy_pool(0)
    mix = EpisodeMix(bursty=1.0, retrieved=0.0, most_ways=4, most_shots=4, queries=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def answered(pool, seeds):
        batch = draw_batch(pool, mix, seeds, SHAPE.slots)
        scores = model(batch.context, batch.queries).masked_fill(batch.context.slots[:, None] < 0, -torch.inf)
        return scores, batch

    for step in range(500):
        scores, batch = answered(learnt, range(8 * step, 8 * step + 8))
        optimizer.zero_grad()
        F.cross_entropy(scores.transpose(1, 2), batch.targets, ignore_index=-1).backward()
        optimizer.step()
    with torch.no_grad():
        scores, batch = answered(toy_pool(1), range(10**6, 10**6 + 200))
    is_query, ways = batch.targets >= 0, (batch.context.slots >= 0).sum(dim=1)
    accuracy = (scores.argmax(dim=-1) == batch.targets)[is_query].float().mean()
    assert accuracy > 0.8 > 2 * (1 / ways).mean()
