"""What GIST's recorded numbers cannot show: whose captions are chosen, what texts say, how the objective trains."""

import json
import warnings

import pytest
import torch
import torch.nn.functional as F

from adaptkit import ClassSet, Examples, LabelledBatch, create_method, create_objective
from adaptkit.contract.creation import trained_by
from adaptkit.layers.contrastive import soft_targets
from adaptkit.layers.image_texts import fit_text, pair_text, read_captions, write_captions
from adaptkit.objectives import GISTConfig
from adaptkit.objectives.gist import (
    bootstrap,
    captions_of_classes,
    class_key,
    contrastive_loss,
    encode_captions,
    fit_logistic_probe,
    fit_sgd_probe,
    in_top,
    match,
    match_files,
    training_texts,
)
from tests.helpers.models import consumed
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

NAMES = ("cat", "tree frog", "jay")
CAPTIONS = {
    "cat\n": ["black fur", "a white cat with stripes", "long tail", "asleep", "green eyes", "small"],
    " Tree-Frog": ["red eyes", "on a leaf"],
    "jay": ["blue wings", "a crest", "on a branch"],
    "unused": ["nothing"],
}
SCALE = torch.tensor(2.0)


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(CAPTIONS))
    return str(path)


@pytest.fixture
def examples(tiny_clip):
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(6, tiny_clip.embed_dim, generator=generator)
    return Examples(tuple(f"train/{n}.jpg" for n in "abcdef"), torch.tensor([0, 1, 2, 0, 1, 2]), features)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def objective_of(method, examples=None, **options):
    objective = create_objective(method, [("gist", GISTConfig(**options))])
    if examples is not None:
        objective.see_examples(method, examples)
    return objective


# Captions of classes and images


def test_a_key_with_a_line_break_finds_its_class(files):
    captions = captions_of_classes(NAMES, read_captions(files))
    assert captions[0] == tuple(CAPTIONS["cat\n"])
    assert captions[1] == ("red eyes", "on a leaf")
    assert class_key("001.Tree_Frog\n") == "tree-frog"


def test_captions_come_back_from_their_file(tmp_path):
    captions = {"a b/é.jpg": ["one", "two: three"], "c.jpg": ["four"]}
    place = write_captions(tmp_path / "deep" / "matched.json", captions)
    assert {key: list(own) for key, own in read_captions(place).items()} == captions


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a JSON object"),
        ({}, "expected a JSON object"),
        ({"cat": "black fur"}, "'cat' has black fur; give it a list"),
        ({"cat": []}, "'cat' has \\[\\]; give it a list"),
        ({"cat": ["a", " "]}, "give it a list of one or more captions"),
        ({"cat": ["a"], "cat\n": ["b"]}, "another one but for white space"),
    ],
)
def test_a_file_of_another_form_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_captions(path)


def test_a_class_without_captions_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="no class 'jays'; the nearest is 'jay'"):
        captions_of_classes(("jays",), CAPTIONS)
    with pytest.raises(ValueError, match="'cat' is no line of a list of classes"):
        class_key("cat")


# Matching


def test_a_match_is_never_another_class_s_and_does_not_depend_on_the_order_of_captions():
    images, labels = rows(20, 8), torch.arange(20) % 3
    features = [rows(7, 8, seed=1), rows(3, 8, seed=2), rows(5, 8, seed=3)]
    matches = match(images, labels, features)
    counts = torch.tensor([7, 3, 5])[labels]
    assert (matches.chosen < counts[:, None]).all()
    assert ((matches.chosen >= 0).sum(dim=1) == counts.clamp_max(5)).all()
    torch.testing.assert_close(matches.probabilities.sum(dim=1), torch.ones(20))
    orders = [torch.randperm(len(own), generator=torch.Generator().manual_seed(4)) for own in features]
    again = match(images, labels, [own[order] for own, order in zip(features, orders, strict=True)])
    for label, chosen, permuted in zip(labels.tolist(), matches.chosen, again.chosen, strict=True):
        assert chosen[chosen >= 0].tolist() == orders[label][permuted[permuted >= 0]].tolist()


def test_equal_captions_are_taken_by_their_place():
    own = rows(1, 8).expand(6, 8)
    assert match(rows(1, 8, seed=1), torch.tensor([0]), [own]).chosen.tolist() == [[0, 1, 2, 3, 4]]


def test_captions_are_chosen_for_training_images_alone_and_may_be_shortened():
    features = [rows(2, 8, seed=1)]
    found = match_files(
        ["a", "b", "a"],
        torch.zeros(3, dtype=torch.int64),
        rows(3, 8),
        [("one two", "three four")],
        features,
        splits=["train", "test", "train"],
        shorten=lambda text: text.split()[0],
    )
    assert list(found) == ["a"]
    assert sorted(found["a"]) == ["one", "three"]


def test_an_image_of_a_class_without_captions_is_refused():
    with pytest.raises(ValueError, match="images of label 1 have no captions"):
        match(rows(2, 8), torch.tensor([0, 1]), [rows(2, 8), rows(0, 8)])


# Texts


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("blue wings", "jay: blue wings"),
        ("Jay: blue wings", "Jay: blue wings"),
        ("a blue jay on a branch", "a blue jay on a branch"),
        ("a jaywalker", "jay: a jaywalker"),
    ],
)
def test_no_text_says_the_class_name_twice(caption, text):
    assert pair_text("jay", caption) == text
    assert pair_text("jay", caption, always=True) == f"jay: {caption}"


def test_texts_of_files_outside_the_training_images_are_not_used():
    captions = {"a.jpg": ["black fur", "cat asleep"], "b.jpg": ["red eyes"], "c.jpg": ["blue"]}
    columns = (["a.jpg", "b.jpg"], ["cat", "frog"], ["train", "val"])
    assert training_texts(*columns, captions, 2, always=False) == ["cat: black fur", "cat asleep"]
    with pytest.raises(ValueError, match=r"a\.jpg has 2 captions; expected 3 or more"):
        training_texts(*columns, captions, 3)


def test_a_text_that_is_too_long_is_cut_at_the_last_clause_with_a_warning(tiny_clip, tmp_path):
    clause = "a very small bird with blue wings"
    text = ", ".join([clause] * 9)
    cut = fit_text(text, tiny_clip.tokenizer)
    assert text.startswith(f"{cut},")
    assert cut.endswith(clause)
    assert len(tiny_clip.tokenizer.words(cut)) + tiny_clip.tokenizer.n_special <= tiny_clip.context_length
    assert fit_text(" ".join(["bird"] * 90), tiny_clip.tokenizer) == " ".join(["bird"] * 38)
    assert fit_text("short, and kept", tiny_clip.tokenizer) == "short, and kept"
    with pytest.warns(UserWarning, match="1 of 2 texts do not fit into 40 tokens and are cut"):
        encode_captions(tiny_clip, [(text,), ("short",)])
    with pytest.raises(ValueError, match="the first word of '8888"):
        fit_text("8" * 90, tiny_clip.tokenizer)


# Losses


def test_class_targets_equal_instance_targets_where_all_classes_differ():
    images, texts = rows(6, 8), rows(6, 8, seed=1)
    labels = torch.randperm(6)
    by_class = contrastive_loss(images, texts, SCALE, labels, "class")
    torch.testing.assert_close(by_class, contrastive_loss(images, texts, SCALE, labels, "instance"))


def test_pairs_of_one_class_share_their_targets():
    labels = torch.tensor([0, 1, 0])
    assert soft_targets(labels).tolist() == [[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]]
    images, texts = F.normalize(rows(3, 8), dim=-1), F.normalize(rows(3, 8, seed=1), dim=-1)
    logits = SCALE.exp() * images @ texts.T
    rows_, columns = logits.log_softmax(dim=1), logits.log_softmax(dim=0)
    expected = -(soft_targets(labels) * (rows_ + columns)).sum() / 6
    torch.testing.assert_close(contrastive_loss(images, texts, SCALE, labels, "class"), expected)


def test_classes_are_positives_by_themselves_in_large_batches_alone():
    for count, kind in ((32, "instance"), (33, "class")):
        images, texts, labels = rows(count, 8), rows(count, 8, seed=1), torch.arange(count) % 4
        auto = contrastive_loss(images, texts, SCALE, labels, "auto")
        assert auto == contrastive_loss(images, texts, SCALE, labels, kind)


# The objective


def batch_of(method, examples, images=None):
    x = examples.features if images is None else consumed(method, images)
    return LabelledBatch(x, examples.labels[: len(x)], torch.arange(len(x)))


def test_every_image_has_texts_of_its_class_drawn_by_their_probability(tiny_clip, files, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    objective = objective_of(method, examples, captions=files, num_captions=2)
    captions = captions_of_classes(NAMES, read_captions(files))
    matches = match(examples.features, examples.labels, encode_captions(tiny_clip, captions))
    for image, label in enumerate(examples.labels.tolist()):
        expected = [pair_text(NAMES[label], captions[label][place]) for place in matches.chosen[image, :2].tolist()]
        assert [objective.texts[place] for place in objective.of_image[image].tolist()] == expected
        q = matches.probabilities[image][matches.chosen[image, :2]]
        torch.testing.assert_close(objective.odds[image], q)
    places = torch.zeros(4000, dtype=torch.int64)
    share = (objective._draw(places) == objective.of_image[0, 0]).float().mean()
    assert abs(share - objective.odds[0, 0] / objective.odds[0].sum()) < 0.04


def test_the_loss_is_the_contrastive_one_of_the_drawn_texts(tiny_clip, files, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    objective = objective_of(method, examples, captions=files, num_captions=1, positives="class")
    texts = tiny_clip.encode_text([objective.texts[place] for place in objective.of_image[:, 0].tolist()])
    images = method.image_features_of(examples.features)
    expected = contrastive_loss(images, texts, tiny_clip.logit_scale, examples.labels, "class")
    torch.testing.assert_close(objective.loss(method, batch_of(method, examples)), expected)
    both = objective_of(method, examples, captions=files, num_captions=1, positives="class", label_weight=0.5)
    ce = method.loss(examples.features, examples.labels)
    torch.testing.assert_close(both.loss(method, batch_of(method, examples)), expected + 0.5 * ce)


@pytest.mark.parametrize("choice", ["any", "name"])
def test_the_baselines_choose_without_the_image(choice, tiny_clip, files, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    options = {} if choice == "name" else {"captions": files}
    objective = objective_of(method, examples, choice=choice, **options)
    counts = {"any": [6, 2, 3], "name": [1, 1, 1]}[choice]
    assert [(row > 0).sum().item() for row in objective.odds[:3]] == counts
    assert objective.texts[0] == {"any": "cat: black fur", "name": "a photo of a cat."}[choice]


def test_matched_captions_are_found_by_path_or_name_and_must_be_there(tiny_clip, tmp_path, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    captions = {(name if n % 2 else name[6:]): [f"number {n}"] for n, name in enumerate(examples.names)}
    path = str(write_captions(tmp_path / "matched.json", captions | {"test/z.jpg": ["never"]}))
    objective = objective_of(method, examples, matched=path)
    assert objective.texts == [f"{NAMES[n % 3]}: number {n}" for n in range(6)]
    del captions["train/d.jpg"]
    write_captions(path, captions)
    with pytest.raises(ValueError, match=r"no captions of the training image 'train/d\.jpg'"):
        objective_of(method, examples, matched=path)


def test_training_with_gist_teaches_both_towers_and_saves_neither_texts_nor_scale(tiny_clip, files, batch):
    torch.manual_seed(0)
    method = create_method("clip_lora", tiny_clip, NAMES, dropout=0.0)
    images, labels = batch[0], torch.tensor([0, 1, 2, 0, 1, 2])
    examples = Examples(tuple("abcdef"), labels, tiny_clip.encode_image(images).detach())
    trained = trained_by(method, [("gist", GISTConfig(captions=files, positives="class"))])
    trained.see_examples(examples)
    assert trained.objective.fixed is None  # texts that learn are encoded in every step
    before = method.learnt_state()
    log = train(
        trained,
        [(images, labels, torch.arange(6))],
        OptimConfig(name="adamw", epochs=12, lr=2e-3, warmup_epochs=0),
    )
    assert log.losses[-1] < log.losses[0]
    changed = {name.split(".")[0] for name, tensor in method.learnt_state().items() if not tensor.equal(before[name])}
    assert changed == {"text_updates", "vision_updates"}
    assert trained.learnt_state().keys() == method.learnt_state().keys() == before.keys()


def test_frozen_texts_are_encoded_once(tiny_clip, files, examples, monkeypatch):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    objective = objective_of(method, examples, captions=files)
    monkeypatch.setattr(method, "encode_text", None)
    assert objective.loss(method, batch_of(method, examples)).requires_grad


def test_what_cannot_be_trained_is_one_clear_error(tiny_clip, files, examples):
    method = create_method("clip_adapter", tiny_clip, NAMES)
    with pytest.raises(ValueError, match=r"gist needs captions: set GIST\.CAPTIONS"):
        objective_of(method)
    with pytest.raises(ValueError, match="captions and matched are both set"):
        GISTConfig(captions=files, matched=files)
    with pytest.raises(ValueError, match="takes any caption of the class, which matched does not hold"):
        GISTConfig(choice="any", matched=files)
    with pytest.raises(FileNotFoundError, match="there is no file of captions"):
        objective_of(method, examples, captions="nowhere.json")
    with pytest.raises(ValueError, match="gist needs to know which training images"):
        objective_of(method, examples, captions=files).loss(method, LabelledBatch(examples.features, examples.labels))
    with pytest.raises(ValueError, match="label_weight=0 would leave out GIST"):
        create_objective(method, [("gist", GISTConfig(captions=files))] * 2)
    taskres = create_method("taskres", tiny_clip, NAMES)
    with pytest.raises(ValueError, match="TaskRes learns nothing that changes the feature of an image or of a text"):
        objective_of(taskres, examples, captions=files).loss(taskres, batch_of(taskres, examples))


def test_classes_of_a_class_set_with_underscores_say_their_names_with_spaces(tiny_clip, files, examples):
    method = create_method("clip_adapter", tiny_clip, ClassSet(("cat", "tree_frog", "jay")))
    texts = objective_of(method, examples, captions=files).texts
    assert "tree frog: red eyes" in texts


# Probes


def test_the_probes_tell_classes_apart_and_the_bootstrap_is_about_the_share():
    labels = torch.arange(60) % 3
    features = 3 * torch.eye(8)[labels] + rows(60, 8)
    logistic = fit_logistic_probe(features, labels, 3, c=10.0)
    longer = logistic.logits(4 * features)  # of unit length
    torch.testing.assert_close(logistic.logits(features), longer, rtol=1e-5, atol=1e-5)
    sgd = fit_sgd_probe((features, labels), (features[:9], labels[:9]), 3, epochs=20, batch_size=16)
    for probe in (logistic, sgd):
        assert in_top(probe.logits(features), labels).float().mean() > 0.9
        assert in_top(probe.logits(features), labels, 3).all()
    right = torch.arange(200) % 4 > 0
    drawn = bootstrap(right)
    assert abs(drawn.mean - 0.75) < 0.005
    assert abs(drawn.std - (0.75 * 0.25 / 200) ** 0.5) < 0.003
    with pytest.raises(ValueError, match="0 images and 1000 resamples"):
        bootstrap(right[:0])
    with pytest.raises(ValueError, match="60 training and 0 validation features"):
        fit_sgd_probe((features, labels), (features[:0], labels[:0]), 3)


def test_short_captions_are_no_reason_to_warn(tiny_clip):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_captions(tiny_clip, [("a cat",)])
