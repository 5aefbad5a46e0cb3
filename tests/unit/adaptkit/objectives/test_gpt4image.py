"""What GPT4Image's recorded numbers cannot show: whose description counts how much, and what of it is kept."""

import json

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import Examples, LabelledBatch, create_method, create_objective
from adaptkit.contract.creation import trained_by
from adaptkit.layers.image_texts import pair_text
from adaptkit.objectives import GPT4ImageConfig
from adaptkit.objectives.gist import encode_captions, match
from adaptkit.objectives.gpt4image import (
    DescriptionBank,
    DescriptionLoss,
    build_description_bank,
    build_head,
    mixed_texts,
    noise_weights,
    read_descriptions,
    text_losses,
)
from adaptkit.objectives.gpt4image.bank import row_digests
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

NAMES = ("cat", "tree frog", "jay")
FILES = tuple(f"train/{letter}.jpg" for letter in "abcdef")
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def write(path, pairs):
    lines = [json.dumps({"filename": name, "description": text}) for name, text in pairs]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def described(tmp_path):
    return write(tmp_path / "descriptions.jsonl", [(name, f"picture number {n}") for n, name in enumerate(FILES)])


@pytest.fixture
def examples(tiny_clip):
    return Examples(FILES, LABELS, rows(6, tiny_clip.embed_dim))


def objective_of(method, examples=None, **options):
    objective = create_objective(method, [("gpt4image", GPT4ImageConfig(**options))])
    if examples is not None:
        objective.see_examples(method, examples)
    return objective


def batch_of(examples):
    return LabelledBatch(examples.features, examples.labels, torch.arange(len(examples.labels)))


# Losses


def test_byol_is_zero_only_where_image_and_text_agree():
    texts = F.normalize(rows(5, 8), dim=-1)
    assert text_losses(3 * texts, texts, "byol", 1.0).abs().max() < 1e-6
    assert (text_losses(texts.roll(1, 0), texts, "byol", 1.0) > 0.1).all()


def test_ctr_looks_from_images_to_texts_and_clip_both_ways():
    vectors, texts = rows(5, 8), F.normalize(rows(5, 8, seed=1), dim=-1)
    logits = F.normalize(vectors, dim=-1) @ texts.T / 0.07
    to_texts, to_images = F.cross_entropy(logits, torch.arange(5)), F.cross_entropy(logits.T, torch.arange(5))
    torch.testing.assert_close(text_losses(vectors, texts, "ctr", 0.07).mean(), to_texts)
    torch.testing.assert_close(text_losses(vectors, texts, "clip", 0.07).mean(), (to_texts + to_images) / 2)


def test_the_loss_is_byol_for_small_batches_and_clip_for_large_ones():
    for count, kind in ((127, "byol"), (128, "clip")):
        vectors, texts = rows(count, 8), F.normalize(rows(count, 8, seed=1), dim=-1)
        assert DescriptionLoss("auto")(vectors, texts) == DescriptionLoss(kind)(vectors, texts)


@pytest.mark.parametrize("kind", ["byol", "ctr", "clip"])
def test_a_missing_description_has_no_weight_and_is_no_negative(kind):
    vectors, texts = rows(6, 8), F.normalize(rows(6, 8, seed=1), dim=-1)
    weights = torch.tensor([1, 1, 1, 1, torch.nan, torch.nan])
    loss = DescriptionLoss(kind, 1.0)
    torch.testing.assert_close(loss(vectors, texts, weights), loss(vectors[:4], texts[:4]) * 4 / 6)
    nothing = vectors.clone().requires_grad_()
    loss(nothing, texts, torch.full((6,), torch.nan)).backward()
    assert not nothing.grad.any()


def test_descriptions_that_fit_badly_count_less():
    cosines = torch.linspace(0, 1, 101)
    weights = noise_weights(cosines)
    torch.testing.assert_close(weights, ((cosines - 0.1) / 0.8).clamp(0, 1))
    assert noise_weights(torch.ones(5)).tolist() == [1] * 5
    vectors, texts = rows(4, 8), F.normalize(rows(4, 8, seed=1), dim=-1)
    half = DescriptionLoss("byol", 1.0)(vectors, texts, torch.full((4,), 0.5))
    torch.testing.assert_close(half, DescriptionLoss("byol", 0.5)(vectors, texts))


def test_mixed_targets_have_unit_length():
    texts = F.normalize(rows(5, 8), dim=-1)
    mixed = mixed_texts(texts, torch.arange(5).roll(1), 0.7)
    torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(mixed_texts(texts, torch.arange(5).roll(1), 1.0), texts)


@pytest.mark.parametrize(("form", "shapes"), [("linear", [(4, 6)]), ("deit", [(8, 6), (8,), (4, 8), (4,)])])
def test_heads_have_the_layers_of_their_form(form, shapes):
    head = build_head(form, 6, 4)
    assert [tuple(parameter.shape) for parameter in head.parameters()] == shapes
    assert head(rows(3, 6)).shape == (3, 4)
    assert any(isinstance(layer, torch.nn.GELU) for layer in build_head("resnet", 6, 4, gelu=True))


# The bank


def test_a_bank_comes_back_from_its_file(tiny_clip, described, tmp_path):
    bank = build_description_bank(described, tiny_clip)
    torch.testing.assert_close(bank.embeddings.norm(dim=-1), torch.ones(6))
    again = DescriptionBank.load(bank.save(tmp_path / "bank.safetensors"))
    assert again.names == FILES
    assert again.model == tiny_clip.weights_hash
    assert torch.equal(again.embeddings, bank.embeddings)
    again.check_order(FILES)


def test_a_shift_by_one_is_detected(tiny_clip, described):
    bank = build_description_bank(described, tiny_clip)
    for names, embeddings in (
        (bank.names, bank.embeddings.roll(1, 0)),
        ((*bank.names[1:], bank.names[0]), bank.embeddings),
    ):
        with pytest.raises(ValueError, match="row 0 of the bank is not the one that was written for"):
            DescriptionBank(names, embeddings, bank.model, bank.digests)
    with pytest.raises(ValueError, match=r"row 0 of the bank is of 'train/a\.jpg', not of 'train/b\.jpg'"):
        bank.check_order((*FILES[1:], FILES[0]))
    with pytest.raises(ValueError, match="5 files for a bank of 6 rows"):
        bank.check_order(FILES[1:])
    with pytest.raises(ValueError, match="6 names, 5 embeddings and 6 digests"):
        DescriptionBank(bank.names, bank.embeddings[1:], bank.model, bank.digests)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}\n", "line 1: '{}'; expected"),
        ('{"filename": "a", "description": "b"}\n[1]\n', "line 2"),
        ('{"filename": 1, "description": "b"}', "line 1"),
        ('{"filename": "a", "description": " "}\n\n', "has no description"),
    ],
)
def test_a_file_of_another_form_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "descriptions.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_descriptions(path)


def test_what_is_no_bank_is_one_clear_error(tmp_path, tiny_clip, described):
    path = tmp_path / "bank.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no bank of descriptions"):
        DescriptionBank.load(path)
    build_description_bank(described, tiny_clip).save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"train/a.jpg", b"train/z.jpg"))
    with pytest.raises(ValueError, match=r"row 0 of the bank is not the one that was written for 'train/z\.jpg'"):
        DescriptionBank.load(path)


# The objective


def test_without_weight_it_is_the_method_alone_step_for_step(tiny_clip, described, batch):
    images = batch[0]
    learnt = []
    for objectives in ([], [("gpt4image", GPT4ImageConfig(descriptions=described, lam=0.0))]):
        torch.manual_seed(3)
        method = create_method("clip_lora", tiny_clip, NAMES)  # dropout shows whether random numbers were drawn
        trained = trained_by(method, objectives)
        places = ()
        if objectives:
            trained.see_examples(Examples(FILES, LABELS, rows(6, tiny_clip.embed_dim)))
            places = (torch.arange(6),)
        torch.manual_seed(4)
        train(trained, [(images, LABELS, *places)], OptimConfig(epochs=4, lr=0.1, warmup_epochs=0))
        learnt.append(method.learnt_state())
    assert all(torch.equal(tensor, learnt[1][name]) for name, tensor in learnt[0].items())


def test_the_loss_is_the_inner_one_and_lambda_times_that_of_each_image_s_own_text(tiny_clip, described, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    own = F.normalize(tiny_clip.encode_text([f"picture number {n}" for n in range(6)]), dim=-1)
    vectors, inner = method.image_features_of(examples.features), method.loss(examples.features, LABELS)
    for kind in ("byol", "ctr", "clip"):
        options = {"descriptions": described, "kind": kind, "noise": "none", "positives": "instance"}
        loss = objective_of(method, examples, **options).loss(method, batch_of(examples))
        torch.testing.assert_close(loss, inner + 0.5 * text_losses(vectors, own, kind, 0.07).mean())
    weights = noise_weights(F.cosine_similarity(examples.features, own))
    loss = objective_of(method, examples, descriptions=described).loss(method, batch_of(examples))
    torch.testing.assert_close(loss, inner + 0.5 * (weights * text_losses(vectors, own, "byol", 1.0)).mean())


def test_rows_find_their_texts_by_name_whatever_the_order_of_the_file(tiny_clip, tmp_path, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    pairs = [(name.rpartition("/")[2], f"picture number {n}") for n, name in enumerate(FILES)]
    bank = build_description_bank([*reversed(pairs), ("test/z.jpg", "never")], tiny_clip)
    objective = objective_of(method, examples, descriptions=str(bank.save(tmp_path / "bank.safetensors")))
    own = F.normalize(tiny_clip.encode_text([text for _, text in pairs]), dim=-1)
    torch.testing.assert_close(objective._draw(torch.arange(6))[0], own)


def test_of_several_descriptions_one_is_drawn_and_missing_ones_fall_back_on_captions(tiny_clip, tmp_path, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    path = write(tmp_path / "d.jsonl", [(FILES[0], "one"), (FILES[0], "two"), (FILES[1], "three")])
    objective = objective_of(method, examples, descriptions=path, noise="none")
    places = torch.zeros(2000, dtype=torch.int64)
    drawn = objective._draw(places)[0]
    one = F.normalize(tiny_clip.encode_text(["one"]), dim=-1)
    assert abs(float(((drawn - one).norm(dim=-1) < 1e-4).float().mean()) - 0.5) < 0.05
    assert objective._draw(torch.arange(6))[1].isnan().tolist() == [False, False, True, True, True, True]

    captions = {"cat": ["black", "white"], "tree frog": ["red", "green"], "jay": ["blue", "crest", "tail"]}
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(captions))
    objective = objective_of(method, examples, descriptions=path, captions=str(file), noise="none")
    texts, weights = objective._draw(torch.arange(6))
    assert not weights.isnan().any()
    best = match(examples.features, LABELS, encode_captions(tiny_clip, list(captions.values())), 1).chosen[:, 0]
    for place in range(2, 6):
        label = int(LABELS[place])
        said = pair_text(NAMES[label], captions[NAMES[label]][int(best[place])])
        torch.testing.assert_close(texts[place], F.normalize(tiny_clip.encode_text([said]), dim=-1)[0])


def test_the_head_is_trained_and_not_saved(tiny_clip, tmp_path, described, examples):
    bank = build_description_bank(described, tiny_clip)
    foreign = F.normalize(rows(6, 12), dim=-1)  # as of another CLIP
    bank = DescriptionBank(bank.names, foreign, "another", tuple(row_digests(bank.names, foreign)))
    path = str(bank.save(tmp_path / "bank.safetensors"))
    method = create_method("clip_adapter", tiny_clip, NAMES)
    with pytest.raises(ValueError, match="encoded by other weights than those of"):
        objective_of(method, descriptions=path)
    with pytest.raises(ValueError, match="leave one of them out"):
        objective_of(method, descriptions=path, head="deit", captions=described)
    trained = trained_by(method, [("gpt4image", GPT4ImageConfig(descriptions=path, head="resnet"))])
    trained.see_examples(examples)
    before = trained.objective.head[0].weight.detach().clone()
    train(trained, [(examples.features, LABELS, torch.arange(6))], OptimConfig(epochs=2, lr=0.1, warmup_epochs=0))
    assert not torch.equal(trained.objective.head[0].weight, before)
    assert any("head" in name for name in trained.training_state())
    folder = method.save_pretrained(tmp_path / "adapter")
    assert not any("head" in name for name in adaptkit.load(folder, backbone=tiny_clip).learnt_state())


def test_what_cannot_be_trained_is_one_clear_error(tiny_clip, tmp_path, described, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    with pytest.raises(ValueError, match=r"gpt4image needs descriptions: set GPT4IMAGE\.DESCRIPTIONS"):
        objective_of(method)
    with pytest.raises(FileNotFoundError, match="there is no file of descriptions 'nowhere"):
        objective_of(method, examples, descriptions="nowhere.jsonl")
    strange = write(tmp_path / "strange.jsonl", [("z.jpg", "a picture")])
    with pytest.raises(ValueError, match="none of the 6 training images has a description"):
        objective_of(method, examples, descriptions=strange)
    objective = objective_of(method, examples, descriptions=described)
    with pytest.raises(ValueError, match="gpt4image needs to know which training images"):
        objective.loss(method, LabelledBatch(examples.features, LABELS))
    coop = create_method("coop", tiny_clip, NAMES, n_ctx=2)
    with pytest.raises(ValueError, match="CoOp learns nothing that changes image features"):
        objective_of(coop, examples, descriptions=described).loss(coop, batch_of(examples))
