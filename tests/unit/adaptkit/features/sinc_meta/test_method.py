"""The in-context classifier: what it starts from, what it does not depend on, its bounds, files and refusals."""

import json

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import Support, create_method
from adaptkit.deployment.export import export
from adaptkit.features.sinc_meta import MetaModel, MetaShape, Provenance, read_meta_model
from adaptkit.features.sinc_meta.meta_file import parse_meta_model
from tests.helpers.meta_models import packed
from tests.helpers.models import build

DIM, KEPT = 32, "(kept)"
GENERATOR = torch.Generator().manual_seed(1)
QUERIES = torch.randn(7, DIM, generator=GENERATOR)
SUPPORT = Support(torch.randn(15, DIM, generator=GENERATOR), torch.arange(15) % 5)


def meta_file(folder, backbone, **settings):
    """The file of a meta-model at random for a backbone."""
    path = folder / f"meta_{len(list(folder.iterdir()))}.safetensors"
    path.write_bytes(packed(backbone, **settings))
    return str(path)


@pytest.fixture
def path(tmp_path, tiny_clip):
    return meta_file(tmp_path, tiny_clip)


def made(backbone, classes, path, support=SUPPORT, **options):
    method = create_method("sinc_meta", backbone, classes, meta_model=path, **options).eval()
    if support is not None:
        method.prepare(support)
    return method


@torch.no_grad()
def answers(method, queries=QUERIES):
    return method.logits(queries)


def zero_shot(backbone, classes):
    return answers(create_method("zero_shot", backbone, classes))


def test_gamma_of_0_equals_zero_shot_clip(tmp_path, tiny_clip, classes):
    method = made(tiny_clip, classes, meta_file(tmp_path, tiny_clip, gamma=0.0))
    assert torch.equal(answers(method), zero_shot(tiny_clip, classes))


def test_a_new_meta_model_has_a_gamma_of_0():
    assert MetaModel(MetaShape(dim=8, width=8, heads=2)).gamma.item() == 0


def test_without_demonstrations_it_is_zero_shot_clip(path, tiny_clip, classes):
    assert torch.equal(answers(made(tiny_clip, classes, path, None)), zero_shot(tiny_clip, classes))


def test_demonstrations_count(path, tiny_clip, classes):
    assert not torch.allclose(answers(made(tiny_clip, classes, path)), zero_shot(tiny_clip, classes), atol=1e-2)


def test_the_order_of_demonstrations_changes_no_bit(path, tiny_clip, classes):
    expected = answers(made(tiny_clip, classes, path))
    for seed in range(5):
        order = torch.randperm(15, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(
            answers(made(tiny_clip, classes, path, Support(SUPPORT.x[order], SUPPORT.labels[order]))), expected
        )


def test_the_order_of_classes_permutes_the_logits(path, tiny_clip, classes):
    order = [3, 0, 4, 1, 2]
    moved = torch.tensor([order.index(int(label)) for label in SUPPORT.labels])
    permuted = made(tiny_clip, [classes[label] for label in order], path, Support(SUPPORT.x, moved))
    expected = answers(made(tiny_clip, classes, path))[:, order]
    torch.testing.assert_close(answers(permuted), expected, rtol=1e-5, atol=1e-5)


def test_an_answer_does_not_depend_on_the_other_queries(path, tiny_clip, classes):
    method = made(tiny_clip, classes, path)
    torch.testing.assert_close(answers(method, QUERIES[2:3]), answers(method)[2:3], rtol=1e-5, atol=1e-5)


def test_added_demonstrations_are_as_if_they_had_been_there(path, tiny_clip, classes):
    method = made(tiny_clip, classes, path, Support(SUPPORT.x[:9], SUPPORT.labels[:9]))
    method.add_demonstrations(Support(SUPPORT.x[9:], SUPPORT.labels[9:]))
    assert torch.equal(answers(method), answers(made(tiny_clip, classes, path)))


def test_classes_may_have_different_numbers_of_demonstrations(path, tiny_clip, classes):
    few = Support(SUPPORT.x[:4], torch.tensor([0, 0, 0, 2]))
    assert answers(made(tiny_clip, classes, path, few)).isfinite().all()


def test_views_of_a_demonstration_are_averaged(path, tiny_clip, classes):
    views = SUPPORT.x[:, None] + torch.tensor([-1.0, 0.0, 1.0])[:, None]
    torch.testing.assert_close(
        made(tiny_clip, classes, path, Support(views, SUPPORT.labels)).demos, made(tiny_clip, classes, path).demos
    )


def test_classes_beyond_the_slots_are_pruned_to_the_best_of_clip(tmp_path, tiny_clip, classes):
    method = made(tiny_clip, classes, meta_file(tmp_path, tiny_clip, slots=4), pruned_to=2)
    zero = zero_shot(tiny_clip, classes)
    best, scores = zero.topk(2, dim=1).indices, answers(method) - zero
    for row in range(len(QUERIES)):
        others = [label for label in range(5) if label not in best[row].tolist()]
        torch.testing.assert_close(scores[row, others], torch.full((3,), -5.0), rtol=1e-4, atol=1e-4)
        chosen = sorted(best[row].tolist())
        kept = [place for place, label in enumerate(SUPPORT.labels.tolist()) if label in chosen]
        support = Support(SUPPORT.x[kept], torch.tensor([chosen.index(int(SUPPORT.labels[place])) for place in kept]))
        alone = made(tiny_clip, [classes[label] for label in chosen], str(method.config.meta_model), support)
        expected = answers(alone, QUERIES[row : row + 1])[0] - zero[row, chosen]
        torch.testing.assert_close(scores[row, chosen], expected, rtol=1e-4, atol=1e-4)


def test_a_gamma_of_0_leaves_pruned_classes_as_clip_has_them(tmp_path, tiny_clip, classes):
    method = made(tiny_clip, classes, meta_file(tmp_path, tiny_clip, gamma=0.0, slots=4), pruned_to=2)
    assert torch.equal(answers(method), zero_shot(tiny_clip, classes))


def test_pruned_contexts_are_read_in_parts_that_fit_memory(tmp_path, tiny_clip, classes, monkeypatch):
    """20 classes of 16 shots have 340 tokens; however many queries there are, few contexts are compared at a time."""
    from adaptkit.features.sinc_meta import method as module

    whole = answers(made(tiny_clip, classes, meta_file(tmp_path, tiny_clip, slots=4), pruned_to=2))
    assert module.MOST_PAIRS // (20 * 17) ** 2 * (20 * 17) ** 2 * 4 * 4 <= 2**26  # bytes of four heads
    monkeypatch.setattr(module, "MOST_PAIRS", 100)
    method = made(tiny_clip, classes, meta_file(tmp_path, tiny_clip, slots=4), pruned_to=2)
    sizes = []
    method.meta.register_forward_pre_hook(lambda _, given: sizes.append(len(given[1])))
    torch.testing.assert_close(answers(method), whole, rtol=1e-5, atol=1e-5)
    assert max(sizes) * (2 * 4) ** 2 <= 100
    assert sum(sizes) == len(QUERIES)


def test_nothing_learns(path, tiny_clip, classes):
    method = made(tiny_clip, classes, path)
    assert not method.learnt_parameters()
    assert not method.loss(QUERIES, torch.zeros(7, dtype=torch.int64)).requires_grad


def test_a_saved_adapter_has_the_file_and_the_demonstrations(path, tmp_path, classes):
    backbone = build("clip_vit")
    method = made(backbone, classes, path)
    method.save_pretrained(tmp_path / "adapter")
    (tmp_path / path).unlink()
    loaded = adaptkit.load(tmp_path / "adapter", backbone)
    assert torch.equal(answers(loaded), answers(method))
    assert loaded.config.meta_model == KEPT
    assert loaded.meta_file.sha256 == method.meta_file.sha256
    assert loaded.meta_file.provenance.seen == ("bagpipe",)


def test_an_adapter_without_demonstrations_travels_too(path, tmp_path, classes):
    backbone = build("clip_vit")
    made(backbone, classes, path, None).save_pretrained(tmp_path / "adapter")
    loaded = adaptkit.load(tmp_path / "adapter", backbone)
    loaded.prepare(SUPPORT)
    assert torch.equal(answers(loaded), answers(made(backbone, classes, path)))


def test_classes_that_were_seen_are_told_refused_or_allowed(tmp_path, tiny_clip):
    seen = meta_file(tmp_path, tiny_clip, seen=("Violin", "sushi rolls"))
    with pytest.warns(UserWarning, match="1 of 2 classes, such as 'violins'"):
        made(tiny_clip, ["violins", "cat"], seen, None)
    with pytest.raises(ValueError, match="--hold-out"):
        made(tiny_clip, ["violins", "cat"], seen, None, seen_classes="refuse")
    made(tiny_clip, ["violins", "cat"], seen, None, seen_classes="allow")
    made(tiny_clip, ["dog", "cat"], seen, None, seen_classes="refuse")


def test_learnt_and_held_out_classes_never_mix():
    with pytest.raises(ValueError, match="such as 'low battery'"):
        Provenance("tiny", "0" * 64, ("cat", "low battery"), ("Battery",))


def test_another_backbone_has_no_meta_model_and_is_told_how_to_train_one(tiny_clip, classes):
    with pytest.raises(ValueError, match=rf"{tiny_clip.name}.*adaptkit sinc train"):
        create_method("sinc_meta", tiny_clip, classes)


def test_a_meta_model_of_other_weights_is_refused(path, classes):
    torch.manual_seed(5)
    with pytest.raises(ValueError, match="not those of this"):
        create_method("sinc_meta", build("modified_resnet"), classes, meta_model=path)


def test_a_file_that_is_missing_is_named(tiny_clip, classes):
    with pytest.raises(FileNotFoundError, match="no_such_file"):
        create_method("sinc_meta", tiny_clip, classes, meta_model="no_such_file")


def test_demonstrations_that_do_not_fit_are_refused(path, tiny_clip, classes):
    method = made(tiny_clip, classes, path)
    before = answers(method)
    with pytest.raises(ValueError, match=r"expected \(N, 32\)"):
        method.prepare(Support(torch.zeros(2, 31), torch.zeros(2, dtype=torch.int64)))
    with pytest.raises(ValueError, match="from 0 to 5; there are 5 classes"):
        method.prepare(Support(torch.zeros(2, 32), torch.tensor([0, 5])))
    assert torch.equal(answers(method), before)
    with pytest.raises(ValueError, match="name a file"):
        answers(made(tiny_clip, classes, KEPT))


def test_other_classes_are_refused_with_the_reason(path, tiny_clip, classes):
    with pytest.raises(TypeError, match="takes no training"):
        made(tiny_clip, classes, path).set_classes(["violin"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"demos": torch.zeros(15, 31)}, "demos have shape"),
        ({"demos": torch.zeros(15)}, "1 dimensions"),
        ({"labels": torch.full((15,), 9)}, "from 9 to 9"),
        ({"labels": torch.zeros(15)}, "float32"),
        ({"meta_model": torch.zeros(0, dtype=torch.uint8)}, "no meta-model to read them"),
        ({"meta_model": torch.zeros(9, dtype=torch.uint8)}, "no safetensors file"),
        ({"more": torch.zeros(1)}, "do not belong here"),
    ],
)
def test_learnt_tensors_that_do_not_fit_are_refused(path, tiny_clip, classes, change, said):
    method = made(tiny_clip, classes, path)
    before = answers(method)
    with pytest.raises(ValueError, match=said):
        method.load_learnt_state(method.learnt_state() | change)
    assert torch.equal(answers(method), before)


def repacked(path, **changes):
    """A meta-model's file with other words in its header."""
    from pathlib import Path

    import safetensors.torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
    tensors = safetensors.torch.load(Path(path).read_bytes())
    return safetensors.torch.save(tensors, {**header, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "another/1"}, "format 'another/1'"),
        ({"shape": json.dumps({"dim": 32, "width": 8192, "layers": 64})}, "do not fit its header"),
        ({"shape": json.dumps({"dim": 10**9})}, "not that of a meta-model"),
        ({"shape": "[]"}, "not that of a meta-model"),
        ({"seen": '{"a": 1}'}, "list of class names"),
        ({"seen": '["harp"]'}, "both learnt on and held out"),
    ],
)
def test_a_header_that_is_wrong_is_refused(path, changes, said):
    with pytest.raises(ValueError, match=said):
        parse_meta_model(repacked(path, **changes), "this file")


def test_numbers_that_no_training_ends_with_are_refused(tmp_path, tiny_clip):
    with pytest.raises(ValueError, match="not finite"):
        read_meta_model(meta_file(tmp_path, tiny_clip, gamma=float("nan")), tiny_clip)


def test_it_exports(path, tmp_path, classes):
    backbone = build("clip_vit")
    method = made(backbone, classes, path)
    export(method, tmp_path / "model.pt2", "torch.export")
    images = torch.randn(3, 3, 32, 32, generator=GENERATOR)
    exported = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images), method(images), rtol=1e-4, atol=1e-4)


def test_unit_demonstrations_are_kept(path, tiny_clip, classes):
    method = made(tiny_clip, classes, path)
    torch.testing.assert_close(method.demos.norm(dim=1), torch.ones(15))
    assert torch.equal(method.labels, SUPPORT.labels.sort().values)
    assert torch.isclose(method.demos @ F.normalize(SUPPORT.x, dim=-1).T, torch.ones(())).any(dim=1).all()
