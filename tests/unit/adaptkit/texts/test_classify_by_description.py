"""Scores of descriptors, their contributions, learnt weights, and what travels with an adapter."""

import json

import pytest
import torch

import adaptkit
from adaptkit.texts.descriptions import DescriptionError, read_descriptions

NAMES = ("tabby cat", "violin", "sushi")
TEXTS = {"tabby cat": ["fur", "a tail", "has whiskers"], "violin": ["four strings"], "sushi": ["rice", "raw fish"]}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "described.json"
    path.write_text(json.dumps(TEXTS))
    return str(path)


@pytest.fixture
def features(tiny_clip):
    return torch.randn(6, tiny_clip.embed_dim, generator=torch.Generator().manual_seed(0))


def made(backbone, file, **options):
    return adaptkit.create_method("classify_by_description", backbone, NAMES, descriptors=file, **options).eval()


def test_scores_are_the_mean_of_cosines_class_by_class(tiny_clip, features, file):
    method = made(tiny_clip, file)
    unit = torch.nn.functional.normalize(features, dim=-1)
    for label, name in enumerate(NAMES):
        phrases = [method.config.style.phrase(name, text) for text in TEXTS[name]]
        encoded = torch.nn.functional.normalize(tiny_clip.encode_text(phrases), dim=-1)
        torch.testing.assert_close(method.scores(features)[:, label], (unit @ encoded.T).mean(dim=1))
    torch.testing.assert_close(method.logits(features), tiny_clip.logit_scale.exp() * method.scores(features))


def test_the_order_of_descriptors_changes_nothing_and_one_left_out_its_class_alone(tiny_clip, features, file):
    method = made(tiny_clip, file)
    before = method.scores(features)
    turned = read_descriptions(file)
    method.set_descriptions(turned.with_class("tabby cat", reversed(TEXTS["tabby cat"])))
    torch.testing.assert_close(method.scores(features), before)
    method.set_descriptions(turned.changed("tabby cat", "fur", enabled=False))
    after = method.scores(features)
    assert not torch.allclose(after[:, 0], before[:, 0])
    torch.testing.assert_close(after[:, 1:], before[:, 1:])


@pytest.mark.parametrize(
    "options", [{}, {"renormalise": "yes"}, {"aggregate": "max"}, {"learn": "weights"}, {"source": "cupl"}], ids=str
)
def test_contributions_sum_to_the_score(options, tiny_clip, features, file):
    method = made(tiny_clip, file, **options)
    for row, explained in zip(
        method.scores(features), method.reasons(features, topk=3, reference=features), strict=True
    ):
        assert [found.index for found in explained] == row.argsort(descending=True).tolist()
        for found in explained:
            assert sum(part.contribution for part in found.parts) == pytest.approx(float(row[found.index]), abs=1e-5)
            assert {part.text for part in found.parts} == set(TEXTS[found.label])
            assert all(part.delta is not None for part in found.parts)


def test_one_empty_descriptor_alone_is_plain_clip(tiny_clip, features, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({name: [name] for name in NAMES}))
    method = made(
        tiny_clip, str(tmp_path / "names.json"), inclusion="none", clause_rule="none", template="a photo of a {}."
    )
    plain = adaptkit.create_method("zero_shot", tiny_clip, NAMES).eval()
    torch.testing.assert_close(method.logits(features), plain.logits(features))


def test_weights_of_the_file_count_and_learnt_weights_stay_weights(tiny_clip, features, tmp_path):
    content = {**TEXTS, "sushi": {"descriptors": [{"text": "rice", "weight": 3.0}, "raw fish"]}}
    (tmp_path / "weighted.json").write_text(json.dumps(content))
    method = made(tiny_clip, str(tmp_path / "weighted.json"), learn="weights").train()
    assert method.phrase_weights().tolist()[-2:] == pytest.approx([0.75, 0.25])
    optimizer = torch.optim.AdamW(method.learnt_parameters().values(), lr=0.1)
    labels = torch.arange(6) % 3
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        losses.append(float(method.backward(features, labels)))
        optimizer.step()
    weights = method.phrase_weights().detach()
    assert losses[-1] < losses[0]
    assert (weights > 0).all()
    torch.testing.assert_close(torch.bincount(method.owners, weights), torch.ones(3))
    with pytest.raises(TypeError, match="learnt weights belong to the descriptors"):
        method.set_classes(["dog"])


def test_descriptors_travel_with_the_adapter(tiny_clip, features, file, tmp_path):
    method = made(tiny_clip, file)
    method.save_pretrained(tmp_path / "adapter")
    assert file not in (tmp_path / "adapter" / "adapter_config.json").read_text()
    (tmp_path / "described.json").unlink()
    loaded = adaptkit.load(tmp_path / "adapter", tiny_clip)
    assert torch.equal(loaded.logits(features), method.logits(features))
    loaded.set_classes(["violin", "sushi"])
    torch.testing.assert_close(loaded.logits(features), method.logits(features)[:, 1:])
    with pytest.raises(DescriptionError, match="says nothing of the class 'trumpet'"):
        loaded.set_classes(["trumpet"])
    assert loaded.classes.classnames == ("violin", "sushi")


def test_random_phrases_are_drawn_alike_and_the_same_for_every_class(file):
    backbone = adaptkit.load_backbone("adaptkit-mini")  # the tiny towers have no words
    one, two = (made(backbone, file, source="waffle", waffle_count=4) for _ in range(2))
    assert one.phrases == two.phrases
    assert [phrase.said for phrase in one.phrases[0]] == [phrase.said for phrase in one.phrases[1]]
    other = made(backbone, file, source="waffle", waffle_count=4, waffle_seed=2)
    assert other.phrases != one.phrases


def test_what_cannot_be_is_refused_with_what_to_do(tiny_clip, file, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        made(tiny_clip, str(tmp_path / "nothing.json"))
    with pytest.raises(ValueError, match="sum' with 1 to 3 descriptors"):
        made(tiny_clip, file, aggregate="sum")
    with pytest.raises(ValueError, match="both belong to the mean"):
        made(tiny_clip, file, aggregate="max", learn="weights")
    with pytest.raises(ValueError, match="expected one"):
        made(tiny_clip, file, template="no place")
    with pytest.raises(DescriptionError, match=r"says nothing of the class 'dog'.*missing='name'"):
        adaptkit.create_method("classify_by_description", tiny_clip, ["dog"], descriptors=file)
    with pytest.warns(UserWarning, match="says nothing of the class 'dog'"):
        adaptkit.create_method("classify_by_description", tiny_clip, ["dog"], descriptors=file, missing="name")
    (tmp_path / "empty.json").write_text(json.dumps({**TEXTS, "violin": []}))
    with pytest.warns(UserWarning, match="no descriptor that is switched on for the class 'violin'"):
        made(tiny_clip, str(tmp_path / "empty.json"))


def test_the_wrapper_hands_its_phrases_to_methods_that_take_sentences(tiny_clip, features, file, tmp_path):
    from adaptkit.wrappers.descriptions import DescriptionsConfig

    wrap = [("descriptions", DescriptionsConfig(file))]
    described = adaptkit.create_method("zero_shot", tiny_clip, NAMES, wrap=wrap).eval()
    scores = made(tiny_clip, file, renormalise="yes")
    torch.testing.assert_close(described.logits(features), scores.logits(features))
    described.set_classes(["sushi", "violin"])
    torch.testing.assert_close(described.logits(features), scores.logits(features)[:, [2, 1]])
    described.save_pretrained(tmp_path / "adapter")
    loaded = adaptkit.load(tmp_path / "adapter", tiny_clip)
    assert torch.equal(loaded.logits(features), described.logits(features))
    with pytest.raises(DescriptionError, match="says nothing of 1 classes, such as 'dog'"):
        described.set_classes(["dog"])
    with pytest.raises(ValueError, match="takes no sentences"):
        adaptkit.create_method("coop", tiny_clip, NAMES, wrap=wrap)
    tip = adaptkit.create_method("tip_adapter", tiny_clip, NAMES, wrap=wrap).eval()
    torch.testing.assert_close(tip.logits(features).argmax(1), scores.logits(features).argmax(1))
