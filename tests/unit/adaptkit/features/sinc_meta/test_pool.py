"""Episodes: what they hold, and that a query is never among its demonstrations."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.features.sinc_meta import EpisodeMix, Labelling, Pool, draw_batch
from adaptkit.features.sinc_meta.episodes import RandomDraws, bursty_prompt, nonbursty_prompt, nway_prompt
from adaptkit.features.sinc_meta.names import related_to, seen_among
from adaptkit.features.sinc_meta.pool import draw_episode

LABELS = torch.arange(30).repeat_interleave(4)
FEATURES = F.normalize(torch.randn(len(LABELS), 8, generator=torch.Generator().manual_seed(0)), dim=-1)
KINDS = {
    "bursty": EpisodeMix(bursty=1.0, retrieved=0.0, exchanged=0.0),
    "retrieved": EpisodeMix(bursty=0.0, retrieved=1.0),
    "random": EpisodeMix(bursty=0.0, retrieved=0.0),
}


def episodes(mix, count=60):
    return [draw_episode(FEATURES, LABELS, mix, torch.Generator().manual_seed(seed)) for seed in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_holds_what_it_promises(kind):
    for episode in episodes(KINDS[kind]):
        assert 2 <= len(episode.classes) <= 20
        assert len(set(episode.classes)) == len(episode.classes)
        assert not set(episode.queries) & set(episode.demos)
        assert [episode.classes[place] for place in episode.demo_classes] == LABELS[episode.demos].tolist()
        assert [episode.classes[place] for place in episode.query_classes] == LABELS[episode.queries].tolist()


def test_bursty_episodes_have_equally_many_demonstrations_where_there_are_enough():
    found = set()
    for episode in episodes(KINDS["bursty"]):
        counts = torch.tensor(episode.demo_classes).bincount().tolist()
        assert all(count == min(max(counts), 3) for count in counts[: len(episode.queries)])
        found |= set(counts)
    assert found == {1, 2, 3, 4}


def test_retrieved_demonstrations_are_the_nearest():
    for episode in episodes(KINDS["retrieved"], 10):
        cosines = FEATURES[episode.demos] @ FEATURES[episode.queries[0]]
        assert torch.equal(cosines, cosines.sort(descending=True).values)


def test_exchanged_episodes_give_every_class_the_text_of_another():
    for episode in episodes(EpisodeMix(bursty=1.0, retrieved=0.0, exchanged=1.0), 20):
        said = [episode.classes[place] for place in episode.demo_classes]
        assert all(text != label for text, label in zip(said, LABELS[episode.demos].tolist(), strict=True))


def test_a_batch_is_a_function_of_its_seeds_and_slots_differ():
    pool = Pool(FEATURES[:, None].expand(-1, 3, -1), (Labelling(torch.arange(120), LABELS, FEATURES[:30]),))
    first, second = (draw_batch(pool, EpisodeMix(), [3, 4, 5], 64) for _ in range(2))
    assert torch.equal(first.queries, second.queries)
    assert torch.equal(first.context.slots, second.context.slots)
    for slots in first.context.slots:
        used = slots[slots >= 0]
        assert len(used.unique()) == len(used)


def test_a_pool_without_two_classes_of_two_images_is_refused():
    with pytest.raises(ValueError, match="1 classes of the pool have two images or more"):
        draw_episode(FEATURES[:3], torch.tensor([0, 0, 1]), KINDS["bursty"], torch.Generator())


def test_random_prompts_have_the_released_sizes():
    labels, draws = LABELS.tolist(), RandomDraws(torch.Generator().manual_seed(0))
    prompt = nway_prompt(labels, range(10), 2, 8, draws)
    assert sorted(prompt.labels) == [0] * 4 + [1] * 4
    kinds = {len(set(bursty_prompt(labels, range(10), [1, 2, 3], 0, 2, 8, draws).places)) <= 3 for _ in range(20)}
    assert kinds == {True, False}
    assert max(nonbursty_prompt(labels, range(3), 8, draws).labels) < 3
    with pytest.raises(ValueError, match="lower the ways"):
        nway_prompt(labels, [1], 2, 8, draws)
    with pytest.raises(ValueError, match="class 99 has no example"):
        nway_prompt(labels, [99, 98], 2, 8, draws)


def test_names_are_compared_by_their_words():
    assert seen_among(["T-Shirts", "cat", "fire_engine"], ["t-shirt", "Fire Engine", "dog"]) == [
        "T-Shirts",
        "fire_engine",
    ]
    assert related_to(["low battery", "bat", "clock"], ["Battery", "alarm clock"]) == ["low battery", "clock"]
