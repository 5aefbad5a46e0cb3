"""The heads of CLOSE: what they learn, what they answer, and what is kept of them."""

import copy

import pytest
import torch
from torch import Tensor

from adaptkit import FrozenCLIP, create_head, load_head
from adaptkit.deployment.export import export
from adaptkit.heads.close.classifier import Close
from adaptkit.heads.close.close_pairs import ClosePairs, pair_inputs
from adaptkit.heads.close.close_tagger import asymmetric_loss
from tests.helpers.models import build

NAMES = ("close", "close_tagger", "close_pairs")


def planted_texts(head: Close, count: int = 40) -> tuple[Tensor, Tensor]:
    """Text features around a direction of each class, with labels."""
    generator = torch.Generator().manual_seed(0)
    width, classes = head.backbone.embed_dim, len(head.config.classnames)
    centres = torch.randn(classes, width, generator=generator)
    labels = torch.arange(classes).repeat(count)
    return centres[labels] + 0.2 * torch.randn(len(labels), width, generator=generator), labels


def classifier(backbone: FrozenCLIP, **options: object) -> Close:
    made = create_head("close", backbone, classnames=("a", "b", "c"), **options)
    assert isinstance(made, Close)
    return made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("adapter", ["mean_shift", "random_shift", "covariance", "linear"])
def test_a_saved_head_keeps_what_its_adapter_has_drawn_and_estimated(name, adapter, tiny_clip, tmp_path):
    head = create_head(name, tiny_clip, adapter=adapter, centre=True, direction_seed=7)
    width = tiny_clip.embed_dim
    head.transfer.fit(torch.randn(50, width), torch.randn(50, width))
    head.save_pretrained(tmp_path / "head")
    restored = load_head(tmp_path / "head", tiny_clip)
    before, after = dict(head.transfer.named_buffers()), dict(restored.transfer.named_buffers())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    restored.transfer.of_texts(torch.randn(2, width))  # it knows that it has seen images


@pytest.mark.parametrize("name", NAMES)
def test_the_file_of_a_head_does_not_depend_on_the_image_tower(name, tmp_path):
    first, second = build("clip_vit"), build("clip_vit")
    with torch.no_grad():
        for parameter in second.model.visual.parameters():
            parameter.mul_(1.5)
    states = []
    for backbone in (first, second):
        torch.manual_seed(0)
        states.append(create_head(name, backbone).learnt_state())
    assert not any("backbone" in key for key in states[0])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("hidden", [0, 24])
def test_a_classifier_learns_texts_and_answers_on_images(hidden, tiny_clip, batch):
    head = classifier(tiny_clip, hidden=hidden, topk=2).train()
    texts, labels = planted_texts(head)
    optimizer = torch.optim.Adam(head.learnt_parameters().values(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        head.text_loss(texts, labels).backward()
        optimizer.step()
    assert (head.eval().text_outputs(texts).argmax(dim=-1) == labels).all()
    answer = head.answers(batch[0][:1])[0]
    assert list(answer["classes"].values()) == sorted(answer["classes"].values(), reverse=True)
    assert (answer["label"], len(answer["classes"])) == (next(iter(answer["classes"])), 2)


def test_a_mixed_loss_is_that_of_its_texts_and_of_its_images(tiny_clip):
    head = classifier(tiny_clip).eval()  # without noise the parts can be compared
    rows, labels = torch.randn(6, tiny_clip.embed_dim), torch.tensor([0, 1, 2, 0, 1, 2])
    is_image = torch.tensor([False] * 4 + [True] * 2)
    mixed = head.mixed_loss(rows, labels, is_image)
    expected = (4 * head.text_loss(rows[:4], labels[:4]) + 2 * head.loss(rows[4:], labels[4:])) / 6
    torch.testing.assert_close(mixed, expected)


def test_images_learn_without_noise(tiny_clip):
    head = classifier(tiny_clip, sigma=1.0).train()
    rows, labels = torch.randn(3, tiny_clip.embed_dim), torch.arange(3)
    images, texts = torch.tensor([True] * 3), torch.tensor([False] * 3)
    assert torch.equal(head.mixed_loss(rows, labels, images), head.loss(rows, labels))
    assert not torch.equal(head.mixed_loss(rows, labels, texts), head.mixed_loss(rows, labels, texts))


def test_noise_carries_a_head_over_a_constant_offset(tiny_clip):
    """The gap of the paper in a toy: images are texts, a constant away."""
    width, generator = tiny_clip.embed_dim, torch.Generator().manual_seed(0)
    centres = torch.randn(20, width, generator=generator)
    labels = torch.arange(20).repeat(20)
    common = 3 * torch.randn(width, generator=generator)
    texts = torch.nn.functional.normalize(common + centres[labels] + 0.05 * torch.randn(400, width), dim=-1)
    offset = 0.5 * torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=-1)
    images = texts + offset + 0.05 * torch.randn(400, width, generator=generator)
    found = {}
    for sigma in (0.0, 0.1):
        torch.manual_seed(0)
        head = create_head("close", tiny_clip, classnames=tuple(map(str, range(20))), sigma=sigma).train()
        optimizer = torch.optim.AdamW(head.learnt_parameters().values(), lr=1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            head.text_loss(texts, labels).backward()
            optimizer.step()
        found[sigma] = float((head.eval().outputs(images).argmax(dim=-1) == labels).float().mean())
    assert found[0.1] > found[0.0] + 0.05, found


def test_the_asymmetric_loss_without_focus_and_forgiveness_is_cross_entropy():
    logits, targets = torch.randn(4, 5), torch.randint(2, (4, 5)).float()
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(asymmetric_loss(logits, targets, 0.0, 0.0, 0.0), plain)


def test_the_asymmetric_loss_is_its_formula():
    logit, p = torch.tensor([[0.3]]), torch.tensor(0.3).sigmoid()
    there = -((1 - p) ** 2) * p.log()
    absent = -((p - 0.1) ** 3) * (1 - (p - 0.1)).log()
    torch.testing.assert_close(asymmetric_loss(logit, torch.ones(1, 1), 2.0, 3.0, 0.1), there)
    torch.testing.assert_close(asymmetric_loss(logit, torch.zeros(1, 1), 2.0, 3.0, 0.1), absent)


def test_the_asymmetric_loss_has_finite_gradients_at_certain_tags():
    logits = torch.tensor([[80.0, -80.0, 80.0, -80.0]], requires_grad=True)
    asymmetric_loss(logits, torch.tensor([[1.0, 1.0, 0.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("objective", ["binary", "asymmetric"])
def test_a_tagger_learns_several_tags_of_a_text(objective, tiny_clip):
    head = create_head("close_tagger", tiny_clip, tags=("x", "y", "z"), objective=objective, threshold=0.5).train()
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(3, tiny_clip.embed_dim, generator=generator)
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]).float().repeat(10, 1)
    texts = targets @ directions
    everything = torch.zeros(len(texts), dtype=torch.bool)
    optimizer = torch.optim.Adam(head.learnt_parameters().values(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        head.mixed_loss(texts, targets, everything).backward()
        optimizer.step()
    head.eval()
    assert (head.text_outputs(texts).sigmoid().gt(0.5) == targets.bool()).all()
    assert [list(one["tags"]) for one in head.described(torch.tensor([[3.0, -3.0, 4.0]]))] == [["z", "x"]]


def test_pairs_are_the_two_rows_their_product_and_their_distance():
    u, v = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    root = 2**0.5
    expected = torch.tensor([[root, 0.0, 0.6 * root, 0.8 * root, 1.2, 0.0, 0.4 * root, 0.8 * root]])
    torch.testing.assert_close(pair_inputs(u, v), expected)


def test_noise_is_on_the_premise_alone(tiny_clip, monkeypatch):
    head = create_head("close_pairs", tiny_clip, sigma=0.5).train()
    seen: list[Tensor] = []
    monkeypatch.setattr(
        "adaptkit.heads.close.close_pairs.pair_inputs", lambda u, v: seen.extend((u, v)) or pair_inputs(u, v)
    )
    rows = torch.nn.functional.normalize(torch.randn(3, 2, tiny_clip.embed_dim), dim=-1)
    head.mixed_loss(rows, torch.arange(3), torch.tensor([False, False, True]))
    premises, hypotheses = seen
    torch.testing.assert_close(hypotheses, rows[:, 1])
    torch.testing.assert_close(premises[2], rows[2, 0])
    assert (premises[:2] - rows[:2, 0]).norm(dim=-1).min() > 0.3


def test_an_image_is_judged_by_every_hypothesis_as_a_premise_is(tiny_clip, batch):
    head = create_head("close_pairs", tiny_clip, hypotheses=("a dog", "a cat", "a sun")).eval()
    assert isinstance(head, ClosePairs)
    features = tiny_clip.encode_image(batch[0])
    outputs = head.outputs(features)
    assert outputs.shape == (6, 3, 3)
    verdicts = torch.randint(3, (6, 3))
    rows = torch.stack(
        torch.broadcast_tensors(features[:, None], tiny_clip.encode_text(["a dog", "a cat", "a sun"])), 2
    )
    mixed = head.mixed_loss(rows.flatten(0, 1), verdicts.flatten(), torch.ones(18, dtype=torch.bool))
    torch.testing.assert_close(head.loss(features, verdicts), mixed)
    assert set(head.answers(batch[0][:1])[0]) == {"a dog", "a cat", "a sun"}


def test_other_hypotheses_keep_what_was_learnt(tiny_clip, batch):
    head = create_head("close_pairs", tiny_clip, hypotheses=("a dog", "a cat")).eval()
    other = head.with_hypotheses("a cat", "a sun")
    features = tiny_clip.encode_image(batch[0])
    torch.testing.assert_close(other.outputs(features)[:, 0], head.outputs(features)[:, 1])
    assert other.spec.config.hypotheses == ("a cat", "a sun")
    assert head.config.hypotheses == ("a dog", "a cat")


@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_exported(name, tiny_clip, tmp_path):
    written = export(create_head(name, tiny_clip).eval(), tmp_path / "head.pt", "torchscript")
    assert written.agreement == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("close", {"classnames": ()}, r"classnames=\(\); give one name or more"),
        ("close", {"classnames": ("a", "a")}, "classnames has 'a' twice"),
        ("close_tagger", {"tags": ()}, r"tags=\(\); give one"),
        ("close_tagger", {"tags": ("a", " ")}, "tags=.*not empty"),
        ("close_pairs", {"hypotheses": ("a", "a")}, "hypotheses has 'a' twice"),
        ("close_pairs", {"verdicts": ()}, r"verdicts=\(\); give one"),
        ("close", {"adapter": "noize"}, "did you mean noise"),
        ("close", {"sigma": -0.1}, "sigma=-0.1; expected"),
        ("close", {"adapter": "covariance", "use_shift": False, "use_covariance": False}, "take 'noise'"),
    ],
)
def test_options_that_make_no_head_are_refused(name, options, message, tiny_clip):
    with pytest.raises(ValueError, match=message):
        create_head(name, tiny_clip, **options)


def test_a_copied_head_draws_the_same_direction(tiny_clip):
    head = classifier(tiny_clip, adapter="random_shift", sigma=0.0).eval()
    texts = torch.randn(3, tiny_clip.embed_dim)
    assert torch.equal(copy.deepcopy(head.transfer).of_texts(texts), head.transfer.of_texts(texts))
