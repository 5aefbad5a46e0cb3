"""Every registered method: among which classes it answers, equal names, "none of these", scores of single classes."""

import json

import pytest
import torch

import adaptkit
from adaptkit import (
    AdaptedCLIP,
    ClassSet,
    FrozenCLIP,
    Support,
    create_method,
    list_methods,
    list_wrappers,
    wrapper_class,
)
from tests.conftest import CLASSES
from tests.helpers.composition import learner_inside, outcome
from tests.helpers.models import build, consumed
from trainers.evaluation.candidates import choose_candidates
from trainers.evaluation.judgement_files import metrics
from trainers.evaluation.logits import predict
from trainers.evaluation.metrics import Judgement, judge

SHARED = ("cat", "ramen", "cat", "violin", "dog")


@pytest.fixture(scope="module")
def siglip() -> FrozenCLIP:
    """A backbone whose logits have a bias of their own."""
    return build("siglip_style")


def learnt(name: str, backbone: FrozenCLIP, batch, classes=CLASSES, wrap=()) -> AdaptedCLIP:
    """The method with something learnt, in eval mode."""
    method = create_method(name, backbone, classes, wrap=wrap)
    method.prepare(Support(consumed(method, batch[0]), batch[1]))
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.02)
    return method.eval()


def judged(method: AdaptedCLIP, images, labels, names, among="adapter") -> Judgement:
    candidates = choose_candidates(method, names, among)
    logits, labels = predict(method, [(consumed(method, images), labels)])
    return judge(candidates.pick(logits), candidates.place(labels), candidates.names)


@pytest.mark.parametrize("name", list_methods())
def test_images_of_some_of_its_classes_are_answered_among_all_of_its_own(name, tiny_clip, batch, tmp_path):
    method = adaptkit.load(learnt(name, tiny_clip, batch).save_pretrained(tmp_path), tiny_clip)
    images, some = batch[0], (CLASSES[4], CLASSES[1])
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    expected = [prediction.label for prediction in method.predict(images)]
    judgement = judged(method, images, labels, some)
    assert judgement.classnames == method.classes.classnames == CLASSES
    assert [CLASSES[place] for place in judgement.answers] == expected
    assert judgement.correct == sum(some[label] == answer for label, answer in zip(labels, expected, strict=True))
    restricted = judged(method, images, labels, some, "data")
    assert set(restricted.classnames) == set(some)
    one = choose_candidates(method, CLASSES[:1])
    assert one.names == CLASSES
    with pytest.raises(ValueError, match="one class only"):
        choose_candidates(method, CLASSES[:1], "data")


@pytest.mark.parametrize("name", list_methods())
def test_two_classes_of_one_name_are_two_rows_everywhere(name, tiny_clip, batch):
    method = learnt(name, tiny_clip, batch, SHARED)
    for prediction in method.predict(batch[0]):
        assert sorted(prediction.indices) == list(range(5))
        assert prediction.labels == tuple(SHARED[index] for index in prediction.indices)
    judgement = judged(method, *batch, SHARED)
    rows = json.loads(json.dumps(metrics(judgement)))["per_class"]
    assert [(row["index"], row["name"]) for row in rows] == list(enumerate(SHARED))
    assert sum(row["correct"] for row in rows) == judgement.correct
    assert [row["images"] for row in rows] == [2, 1, 1, 1, 1]
    with pytest.raises(ValueError, match="not certain which"):
        choose_candidates(method, ("cat", "dog"))


@pytest.mark.parametrize("name", list_methods())
def test_what_is_improbable_is_unknown_where_it_is_asked_for(name, tiny_clip, batch):
    method = learnt(name, tiny_clip, batch)
    plain = method.predict(batch[0])
    limit = sorted(prediction.probability for prediction in plain)[2]
    for before, prediction in zip(plain, method.predict(batch[0], reject=limit), strict=True):
        assert prediction.rejected == (before.probability < limit)
        assert prediction.label == ("unknown" if prediction.rejected else before.label)
        assert (prediction.labels, prediction.probabilities) == (before.labels, before.probabilities)


@pytest.mark.parametrize("name", list_methods())
def test_independent_scores_do_not_depend_on_the_other_classes(name, tiny_clip, batch):
    method = learnt(name, tiny_clip, batch)
    if method.mixes_classes:
        for offset in (None, 20):
            with pytest.raises(ValueError, match="has no independent scores"):
                method.predict(batch[0], scores="independent", offset=offset)
        return
    with torch.no_grad():
        expected = (method(batch[0]).double() - 20).sigmoid()
    for row, prediction in zip(expected, method.predict(batch[0], scores="independent", offset=20), strict=True):
        assert prediction.probabilities == pytest.approx([float(row[index]) for index in prediction.indices], abs=1e-6)
    if method.bound_to_classes is not None:
        with pytest.raises(ValueError, match="need an offset here"):
            method.predict(batch[0], scores="independent")
        return
    if method.sees:
        return  # what it adapts to are the answers among all classes
    whole = method.predict(batch[0], scores="independent")
    assert method.classes.classnames == CLASSES, "the neutral name is gone again"
    method.set_classes(CLASSES[:2])
    for all_of_them, two in zip(whole, method.predict(batch[0], scores="independent"), strict=True):
        scores = dict(zip(all_of_them.labels, all_of_them.probabilities, strict=True))
        assert two.probabilities == pytest.approx([scores[label] for label in two.labels], abs=1e-4)


@pytest.mark.parametrize("name", ["zero_shot", "coop", "clip_adapter"])
def test_independent_scores_of_siglip_use_its_own_bias(name, siglip, batch):
    images = torch.randn(3, 3, 64, 64)
    method = create_method(name, siglip, CLASSES).eval()
    with torch.no_grad():
        expected = method(images).double().sigmoid()
    for row, prediction in zip(expected, method.predict(images, scores="independent"), strict=True):
        assert prediction.probabilities == pytest.approx([float(row[index]) for index in prediction.indices], rel=1e-4)


@pytest.mark.parametrize("name", list_methods())
def test_sentences_of_single_classes_are_read_or_refused_with_a_reason(name, tiny_clip, batch, tmp_path):
    same = ClassSet(CLASSES, sentences=tuple(("a photo of a {}.",) for _ in CLASSES))
    other = ClassSet(CLASSES, sentences=(("a dog of {} kind.", "one that fetches."), *same.sentences[1:]))
    try:
        method = create_method(name, tiny_clip, same, **({"template_set": "classes"} if has_template_set(name) else {}))
    except ValueError as refusal:
        assert "sentences of single classes" in str(refusal)
        with pytest.raises((ValueError, TypeError)):
            create_method(name, tiny_clip, CLASSES).set_classes(same)
        return
    images = batch[0]

    def of(classes):  # made anew where other classes cannot take over
        if method.bound_to_classes is not None:
            return create_method(name, tiny_clip, classes).eval()
        method.set_classes(classes)
        return method

    method.eval()
    with torch.no_grad():
        plain = method(images)
        torch.testing.assert_close(plain, of(CLASSES)(images), rtol=1e-4, atol=1e-3)
        method = of(other)
        changed = method(images)
        loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
        assert torch.equal(loaded(images), changed)
    assert loaded.classes == other
    assert not torch.allclose(changed[:, 0], plain[:, 0])
    if not method.sees:  # what it adapts to are the answers among all classes
        torch.testing.assert_close(changed[:, 1:], plain[:, 1:], rtol=1e-4, atol=1e-3)


def has_template_set(name: str) -> bool:
    return name in ("clip_lora", "peft", "adapter", "mma")


@pytest.mark.parametrize("wrapper", list_wrappers())
def test_a_wrapper_answers_like_a_method(wrapper, tiny_clip, batch):
    method = learnt(learner_inside(wrapper), tiny_clip, batch, SHARED, wrap=(wrapper,))
    assert [sorted(one.indices) for one in method.predict(batch[0])] == [list(range(5))] * 6
    assert judged(method, batch[0][:2], torch.tensor([0, 1]), ("violin", "dog")).classnames == SHARED
    assert len(method.predict(batch[0], scores="independent")) == 6
    # Sentences are refused by the wrapper, or by the inner method where the wrapper takes what that takes.
    sentences = ClassSet(("a", "b"), sentences=(("a",), ("b",)))
    reads = wrapper_class(wrapper).passes_sentences
    if reads:
        reader = "zero_shot" if outcome(tiny_clip, "zero_shot", wrapper).works else "clip_lora"
        assert create_method(reader, tiny_clip, sentences, wrap=(wrapper,))(batch[0]).shape == (6, 2)
    with pytest.raises(ValueError, match="sentences of single classes"):
        create_method("coop" if reads else "zero_shot", tiny_clip, sentences, wrap=(wrapper,))
