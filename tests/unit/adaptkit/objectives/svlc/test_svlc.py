"""The objective `svlc`: its loss, the texts of its pairs, and what learns."""

import json

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import TrainedOnPairs
from adaptkit.objectives import SVLC, SVLCConfig
from adaptkit.objectives.svlc import NegativeAwareLoss, place_negatives
from tests.helpers.models import build
from trainers.pairs.cached_gradients import Pieces, backward_in_pieces
from trainers.pairs.written_texts import WrittenTexts

CAPTIONS = (("a red cat",), ("two whales",), ("a big dog under a table", "a dog"), ("a cup left of a jug",))
GROUPS = torch.arange(4)


def svlc(method, **settings):
    made = adaptkit.create_objective(method, [("svlc", SVLCConfig(**settings))])
    assert isinstance(made, SVLC)
    return made


def texts(objective, drawn=(0, 0, 0, 0), epoch=0):
    written = WrittenTexts(objective, CAPTIONS, lambda text: text, seed=1)
    return written.of([0, 1, 2, 3], list(drawn), epoch)


@pytest.fixture
def zero_shot(tiny_clip):
    return adaptkit.create_method("zero_shot", tiny_clip, None)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 8, generator=generator), torch.randn(6, 5, 8, generator=generator)


def test_without_negatives_the_loss_is_clips(zero_shot, rows):
    images, written = rows
    objective, plain = svlc(zero_shot, num_negs=4), adaptkit.create_objective(zero_shot, ["info_nce"])
    expected = plain.between(images, written[:, 0], torch.arange(6))
    missing = torch.cat([written[:, :1], torch.zeros(6, 4, 8)], dim=1)
    torch.testing.assert_close(objective.between(images, missing, torch.arange(6)), expected)
    torch.testing.assert_close(objective.between(images, written[:, :1], torch.arange(6)), expected)
    torch.testing.assert_close(objective.between(images, written[:, 0], torch.arange(6)), expected)


def test_missing_negatives_take_no_part_and_have_no_gradient(zero_shot, rows):
    images, written = rows
    objective = svlc(zero_shot, num_negs=4)
    fewer = written.clone()
    fewer[:, 3:] = 0
    fewer.requires_grad_()
    loss = objective.between(images, fewer, torch.arange(6))
    loss.backward()
    torch.testing.assert_close(loss, objective.between(images, written[:, :3], torch.arange(6)))
    assert fewer.grad[:, 3:].abs().max() == 0
    assert fewer.grad[:, :3].abs().min() > 0
    assert fewer.grad.isfinite().all()


def test_the_parts_add_up_with_their_weights(zero_shot, rows):
    images, written = rows
    losses = svlc(zero_shot, num_negs=3, pos=True, neg_w=0.5).losses(images, written, torch.arange(6))
    torch.testing.assert_close(losses.total, losses.contrastive + 0.5 * losses.negative + losses.positive)
    none = svlc(zero_shot, num_negs=3, pos=True, neg_w=0.0).losses(images, written, torch.arange(6))
    torch.testing.assert_close(none.total, losses.contrastive + losses.positive)


@pytest.mark.parametrize("settings", [{}, {"no_neg_in_contrastive": True}, {"pos": True, "symmetric": True}])
def test_two_halves_gathered_are_one_batch(rows, settings):
    """The loss of a batch does not depend on who encoded which rows, nor on the order of the pairs."""
    images, written = (F.normalize(part, dim=-1) for part in rows)
    written = written.masked_fill(torch.tensor([0, 0, 1, 0, 1, 0]).bool()[:, None, None], 0)
    written[:, :2] = F.normalize(rows[1][:, :2], dim=-1)
    criterion = NegativeAwareLoss(**settings)

    def loss(order):
        own = written[order]
        return criterion(images[order], own[:, 0], 20.0, own[:, 2:], own[:, 1]).total

    torch.testing.assert_close(loss(torch.arange(6)), loss(torch.tensor([3, 4, 5, 0, 1, 2])))


class Two:
    """The gathering of a process whose fellow has the rows that are given."""

    def __init__(self, rank, others):
        self.rank, self.others = rank, others

    def gather(self, own):
        other = next(self.others).to(own)
        assert other.shape == own.shape
        return torch.cat([other, own] if self.rank else [own, other])

    def reduce(self, own, how):
        return own


def test_two_ranks_have_the_loss_and_the_gradients_of_one_with_the_joined_batch():
    from trainers.compute.team import Team

    torch.manual_seed(0)
    method = adaptkit.create_method("clip_lora", build("clip_vit"), None, dropout=0.0).train()
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.02)
    objective = svlc(method, num_negs=2, pos=True)
    images, own = torch.randn(4, 3, 32, 32), texts(objective)
    whole = PairBatch(images, own, GROUPS)
    loss = backward_in_pieces(method, objective, whole, Pieces(4, 1))
    expected = {name: tensor.grad.clone() for name, tensor in method.learnt_parameters().items()}
    summed = {name: torch.zeros_like(gradient) for name, gradient in expected.items()}
    sides = objective.image_side(method, images).detach(), objective.text_side(method, own).detach()
    for rank in (0, 1):
        mine, others = (slice(0, 2), slice(2, 4)) if rank == 0 else (slice(2, 4), slice(0, 2))
        told = iter([GROUPS[others], sides[0][others], sides[1][others]])
        method.zero_grad()
        team = Team(rank, 2, Two(rank, told))
        again = backward_in_pieces(
            method, objective, PairBatch(images[mine], own[mine], GROUPS[mine]), Pieces(2, 1, team=team)
        )
        torch.testing.assert_close(again, loss)
        for name, tensor in method.learnt_parameters().items():
            summed[name] += tensor.grad
    for name, gradient in expected.items():
        torch.testing.assert_close(summed[name], gradient, rtol=1e-3, atol=1e-5)


def test_pairs_of_one_group_and_their_negatives_are_left_out(rows):
    images, written = (F.normalize(part, dim=-1) for part in rows)
    groups = torch.tensor([0, 0, 1, 2, 3, 4])

    def gradient(negatives):
        own = images.clone().requires_grad_()
        NegativeAwareLoss(neg_w=0.0)(own, written[:, 0], 10.0, negatives, groups=groups).total.backward()
        return own.grad

    before = gradient(written[:, 1:])
    moved = written[:, 1:].clone()
    moved[1] = moved[1].roll(1, -1)  # negatives of pair 1 are none of image 0, which is of its group
    after = gradient(moved)
    torch.testing.assert_close(after[0], before[0])
    assert (after[2:] - before[2:]).abs().amax(dim=1).min() > 1e-4


def test_the_texts_of_a_pair(zero_shot):
    written = texts(svlc(zero_shot, num_negs=3, pos=True))
    assert all(len(own) == 5 for own in written)
    assert written[0][:2] == ("a red cat", "a cat that is red")
    assert written[1] == ("two whales", "two whales", None, None, None)
    assert written[3][1] == "a jug right of a cup"
    assert all(text is not None and text != own[0] for own in (written[0], written[2], written[3]) for text in own[2:])
    assert texts(svlc(zero_shot, num_negs=3, pos=True)) == written
    assert texts(svlc(zero_shot, num_negs=3, pos=True), epoch=1) != written
    assert texts(svlc(zero_shot, num_negs=0)) == [("a red cat",), ("two whales",), (CAPTIONS[2][0],), (CAPTIONS[3][0],)]


def test_what_is_equal_once_it_is_cut_is_missing(zero_shot, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("[colour]\nred\nblue\n", encoding="utf-8")
    objective = svlc(zero_shot, words=str(words))
    cut = objective.texts_of(["a cat that is red"], 0, lambda text: " ".join(text.split()[:2]), 1)
    assert cut == ("a cat", None)
    true = objective.texts_of(["a red cat", "A Blue cat"], 0, str, 1)
    assert true == ("a red cat", None)
    assert objective.texts_of(["a red cat"], 0, str, 1) == ("a red cat", "a blue cat")


def test_a_text_that_has_no_room_is_missing(zero_shot):
    def fit(text):
        if len(text) > 12:
            raise ValueError("no room")
        return text

    own = svlc(zero_shot, pos=True, num_negs=2).texts_of(["a red cat"], 0, fit, 1)
    assert own[:2] == ("a red cat", "a red cat")


def test_users_files_of_words_synonyms_and_paraphrases(zero_shot, tmp_path):
    words, synonyms, paraphrases = (tmp_path / name for name in ("w.txt", "s.json", "p.json"))
    words.write_text("[taste]\nsweet\nsugary\nsour\n", encoding="utf-8")
    synonyms.write_text(json.dumps({"taste": {"sweet": ["sugary"]}}), encoding="utf-8")
    paraphrases.write_text(json.dumps({"a sweet pear": ["a pear like sugar"]}), encoding="utf-8")
    objective = svlc(
        zero_shot, words=str(words), synonyms=str(synonyms), paraphrases=str(paraphrases), pos=True, num_negs=2
    )
    assert objective.texts_of(["a sweet pear"], 0, str, 1) == (
        "a sweet pear",
        "a pear like sugar",
        "a sour pear",
        None,
    )


def test_options_that_nothing_would_read_are_refused():
    with pytest.raises(ValueError, match="set pos"):
        SVLCConfig(paraphrases="x.json")
    with pytest.raises(ValueError, match="name a folder"):
        SVLCConfig(source="both")
    with pytest.raises(ValueError, match="none for rules"):
        SVLCConfig(masked_lm="folder")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("clip_lora", {"params": ("q", "k", "v", "o")}),
        ("peft", {}),
        ("adapter", {}),
        ("maple", {"n_ctx": 2}),
        ("coop", {"n_ctx": 2}),
        ("clip_adapter", {"text_alpha": 0.2}),
    ],
)
def test_every_kind_of_adapter_learns_and_the_scale_does_not(method, options):
    torch.manual_seed(0)
    backbone = build("clip_vit")
    made = adaptkit.create_method(method, backbone, None, **options)
    images = torch.randn(4, 3, 32, 32)
    x = made.consume(images) if made.consumes == "features" else images
    trained = TrainedOnPairs(made, svlc(made, pos=True)).train()
    before = backbone.logit_scale.clone()
    frozen = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    assert not [name for name, tensor in trained.objective.named_parameters() if tensor.requires_grad]
    loss = trained.objective.loss(made, PairBatch(x, texts(trained.objective), GROUPS))
    loss.backward()
    learnt = set(map(id, made.learnt_parameters().values()))
    assert any(tensor.grad is not None and tensor.grad.any() for tensor in made.learnt_parameters().values())
    assert all(tensor.grad is None for tensor in trained.parameters() if id(tensor) not in learnt)
    assert torch.equal(backbone.logit_scale, before)
    assert all(torch.equal(frozen[name], tensor) for name, tensor in backbone.model.state_dict().items())


def test_low_rank_updates_start_at_clip():
    backbone = build("clip_vit")
    method = adaptkit.create_method("clip_lora", backbone, None, params=("q", "k", "v", "o")).eval()
    images, said = torch.randn(2, 3, 32, 32), ["a red cat", "two whales"]
    torch.testing.assert_close(method.encode_image(images), backbone.encode_image(images), rtol=0, atol=1e-5)
    torch.testing.assert_close(method.encode_text(said), backbone.encode_text(said), rtol=0, atol=1e-5)


def test_the_negative_loss_falls_on_a_toy_set():
    torch.manual_seed(0)
    method = adaptkit.create_method("clip_lora", build("clip_vit"), None, encoder="text", r=4, dropout=0.0).train()
    objective = svlc(method)
    images, own = method.backbone.encode_image(torch.randn(4, 3, 32, 32)).detach(), texts(objective)
    optimizer = torch.optim.AdamW(method.learnt_parameters().values(), lr=5e-3)
    seen = []
    for _ in range(15):
        losses = objective.losses(images, objective.text_side(method, own), GROUPS)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        seen.append(float(losses.negative.detach()))
    assert seen[-1] < 0.5 * seen[0]


def test_rows_that_do_not_belong_together_are_refused():
    criterion, rows = NegativeAwareLoss(), torch.eye(3)
    with pytest.raises(ValueError, match="expected the same"):
        criterion(rows, rows[:2], 1.0)
    with pytest.raises(ValueError, match="one for each pair"):
        criterion(rows, rows, 1.0, positives=rows[:2])
    with pytest.raises(ValueError, match="n of 1 or more"):
        criterion(rows, rows, 1.0, negatives=rows)


def test_negatives_are_placed_at_their_images():
    placed = place_negatives(torch.arange(8.0).view(4, 2) + 1, torch.tensor([0, 2]), 3)
    assert placed.shape == (3, 2, 2)
    assert placed[1].eq(0).all()
    assert placed[2, 1].tolist() == [7, 8]
    assert place_negatives(torch.zeros(0, 2), torch.tensor([], dtype=torch.int64), 3).eq(0).all()


def test_the_optional_terms_are_those_of_the_released_code(rows):
    images, captions, positives = (
        F.normalize(part, dim=-1) for part in (rows[0], rows[1][:, 0].contiguous(), rows[1][:, 1].contiguous())
    )
    scale, plain = 10.0, NegativeAwareLoss()(images, captions, 10.0, positives=positives).positive
    both = NegativeAwareLoss(kl_pos=True, common_batch_pos=True)(images, captions, scale, positives=positives).positive
    of_pairs = torch.nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(scale * torch.stack([(images @ captions.T).diag(), (images @ positives.T).diag()], dim=1), dim=1),
        torch.full((6, 2), 0.5),
    )
    of_batch = torch.nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(scale * images @ torch.cat([captions, positives]).T, dim=1),
        F.softmax(torch.cat([torch.eye(6), torch.eye(6)], dim=1) / 2, dim=1),
    )
    torch.testing.assert_close(both, plain + 0.1 * of_pairs + 0.01 * of_batch)
    symmetric = NegativeAwareLoss(symmetric=True)(images, captions, scale, positives=positives).positive
    own = torch.arange(6)
    ways = [(images, positives), (positives, images), (captions, positives), (positives, captions)]
    expected = sum(F.cross_entropy(scale * one @ other.T, own) for one, other in ways) / 4
    torch.testing.assert_close(symmetric, expected)
