"""The mapping model: its heads, what learns, what it maps and answers, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import adaptkit.heads.villa.projections as projections
from adaptkit import create_head, create_method
from adaptkit.heads.villa import Projections, mapping_quality
from adaptkit.heads.villa.tuning import RegionTextObjective, TunedOnRegionFeatures
from tests.helpers.models import build

NAMES = ("red", "round", "wooden")


def mapper(backbone, **options):
    torch.manual_seed(0)
    return create_head("villa", backbone, **{"attributes": NAMES, **options})


def test_heads_of_attributes_that_a_batch_lacks_get_no_gradient(tiny_clip):
    head = mapper(tiny_clip)
    regions, counts = torch.randn(5, tiny_clip.embed_dim), torch.tensor([2, 3])
    head.region_loss(regions, torch.tensor([[1, 0, 0], [0, 0, 1]]), counts).backward()
    learnt = [any(p.grad is not None for p in own.parameters()) for own in head.projections.pool]
    assert learnt == [True, False, True]
    released = mapper(tiny_clip, strict_loss=False)
    released.region_loss(regions, torch.tensor([[1, 0, 0], [0, 0, 1]]), counts).backward()
    assert all(not p.grad.any() for p in released.projections.pool[1].parameters())
    with pytest.raises(ValueError, match="lists any attribute"):
        head.region_loss(regions, torch.zeros(2, 3), counts)


@pytest.mark.parametrize("kind", ["per_attribute", "shared", "adapter"])
def test_a_planted_toy_is_mapped_better_than_without_learning(tiny_clip, kind):
    """Each attribute has a direction of its own among regions, which has nothing to do with its text."""
    head = mapper(tiny_clip, heads=kind, epsilon=0.05)
    generator = torch.Generator().manual_seed(1)
    width, images = tiny_clip.embed_dim, 60
    texts = torch.linalg.qr(torch.randn(width, 3, generator=generator))[0].T  # those of an untrained tower are alike
    head.texts.forward = lambda: texts
    directions = F.normalize(torch.randn(4, width, generator=generator), dim=-1)  # of the attributes, and of no one
    shown = torch.stack([torch.randperm(4, generator=generator)[:3] for _ in range(images)])  # a region each
    noise = 0.02 * torch.randn(images, 3, width, generator=generator)
    regions = (directions[shown] + noise).flatten(0, 1)
    truth = F.one_hot(shown.flatten(), 4)[:, :3]
    labels, counts = truth.reshape(images, 3, 3).amax(dim=1), torch.full((images,), 3)

    def f1(cosines):
        found = torch.zeros(len(regions), 3)
        for row, own in enumerate(cosines.split(3)):
            found[3 * row : 3 * row + 3] = (own >= own.amax(dim=0) - 0.05) & labels[row].bool()
        return mapping_quality(found, truth).f1

    before = f1(F.normalize(regions, dim=-1) @ head.texts().T)
    optimizer = torch.optim.AdamW(head.learnt_parameters().values(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        head.region_loss(regions, labels, counts).backward()
        optimizer.step()
    found = torch.zeros(len(regions), 3)
    for one in head.map(regions, counts, labels):
        found[3 * one.image + one.region, NAMES.index(one.attribute)] = 1
    assert mapping_quality(found, truth).f1 > 95
    assert mapping_quality(found, truth).f1 > before


def test_the_map_is_a_table_of_images_regions_and_attributes(tiny_clip):
    head = mapper(tiny_clip, epsilon=0.0)
    regions = torch.randn(5, tiny_clip.embed_dim)
    table = head.map(regions, torch.tensor([1, 4]), torch.tensor([[1, 0, 0], [1, 0, 1]]))
    assert [(one.image, one.attribute) for one in table if one.image == 0] == [(0, "red")]
    assert sorted(one.attribute for one in table if one.image == 1) == ["red", "wooden"]
    cosines = head.mapped_cosines(regions)
    for one in table:
        first = (0, 1)[one.image]
        assert one.score == pytest.approx(float(cosines[first + one.region, NAMES.index(one.attribute)]))


def test_many_attributes_have_heads_of_low_rank_that_keep_most_of_the_feature(tiny_clip):
    many = mapper(tiny_clip, attributes=tuple(f"a{n}" for n in range(201)))
    assert many.projections.pool[0][0].out_features == 64
    assert many.projections.keep == 0.8
    few = mapper(tiny_clip)
    assert few.projections.pool[0][0].out_features == tiny_clip.embed_dim
    assert few.projections.keep == 0
    assert mapper(tiny_clip, hidden=8, keep=0.5).projections.pool[2][2].in_features == 8
    assert len(mapper(tiny_clip, heads="adapter").projections.pool) == 1
    assert mapper(tiny_clip, heads="adapter").projections.keep == 0.8


def test_attributes_in_pieces_give_the_same_cosines_and_gradients(monkeypatch):
    torch.manual_seed(0)
    heads, regions, texts = Projections(6, 5), torch.randn(7, 6), F.normalize(torch.randn(5, 6), dim=-1)
    whole = heads.cosines(regions, texts)
    whole.square().sum().backward()
    expected = [p.grad.clone() for p in heads.parameters()]
    heads.zero_grad()
    monkeypatch.setattr(projections, "NUMBERS_AT_ONCE", 2 * regions.numel())
    pieces = heads.cosines(regions, texts)
    torch.testing.assert_close(pieces, whole)
    pieces.square().sum().backward()
    for p, own in zip(heads.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, own)
    with torch.no_grad():
        torch.testing.assert_close(heads.cosines(regions, texts[[3, 1]], [3, 1]), whole[:, [3, 1]])
    with pytest.raises(ValueError, match="an attribute for each head"):
        heads.cosines(regions, texts[:2])


def test_words_that_were_not_learnt_need_a_shared_head(tiny_clip):
    regions = torch.randn(4, tiny_clip.embed_dim)
    head = mapper(tiny_clip, heads="shared")
    assert head.query_cosines(regions, "green").shape == (4,)
    torch.testing.assert_close(head.query_cosines(regions, "red"), head.mapped_cosines(regions)[:, 0])
    own = mapper(tiny_clip)
    torch.testing.assert_close(own.query_cosines(regions, "round"), own.mapped_cosines(regions)[:, 1])
    with pytest.raises(ValueError, match="'green' has no head; there are red, round, wooden"):
        own.query_cosines(regions, "green")


def test_an_answer_names_attributes_with_their_boxes(tiny_clip):
    head = mapper(tiny_clip, topk=2)
    answers = head.answers(
        [Image.new("RGB", (50, 40), "red"), torch.full((3, *tiny_clip.preprocess_cfg.image_size), -1.0)]
    )
    assert [len(answer["attributes"]) for answer in answers] == [2, 2]
    best = answers[0]["attributes"]
    assert best[0]["score"] >= best[1]["score"]
    assert len(best[0]["box"]) == 4
    assert head.answers([Image.new("RGB", (50, 40), "red")]) == answers[:1]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"attributes": ("a", "b", "a")}, "'a' twice"),
        ({"attributes": ()}, "give one or more"),
        ({"template": "a thing"}, "has no {}"),
        ({"synonyms": (("red", "crimson"),)}, "'crimson', which is no attribute"),
        ({"grid": ()}, "give one side or more"),
        ({"keep": 1.0}, "keep"),
    ],
)
def test_options_that_cannot_be_are_refused(tiny_clip, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        mapper(tiny_clip, **options)


def test_patches_need_a_tower_with_blocks():
    with pytest.raises(ValueError, match='regions="patches" needs an image tower'):
        mapper(build("modified_resnet"), regions="patches")


def test_the_second_stage_teaches_a_method_on_features(tiny_clip):
    torch.manual_seed(0)
    method = create_method("clip_adapter", tiny_clip, None)
    objective = RegionTextObjective(method)
    trainee = TunedOnRegionFeatures(method, objective)
    rows, texts = torch.randn(6, tiny_clip.embed_dim), F.normalize(torch.randn(6, tiny_clip.embed_dim), dim=-1)
    loss = trainee.loss(rows, texts, torch.arange(6))
    torch.testing.assert_close(loss, objective.between(method.image_features_of(rows), texts, torch.arange(6)))
    loss.backward()
    assert all(p.grad is not None for p in method.learnt_parameters().values())
    with pytest.raises(ValueError, match="needs images; give the crops"):
        TunedOnRegionFeatures(create_method("clip_lora", tiny_clip, None), objective)
