"""What OGEN's recorded numbers cannot show: who learns when, which names stand for unknown classes, and the teacher."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Examples, create_method
from adaptkit.contract.creation import trained_by
from adaptkit.objectives import OGENConfig
from adaptkit.objectives.ogen import (
    Generator,
    Given,
    average_of_ends,
    class_statistics,
    draw_noise,
    features_of_known,
    make,
    nearest_classes,
    nearest_new,
    window_length,
)
from adaptkit.objectives.ogen.unknown_names import LEAST_HIDDEN, hide_half, names_of_file
from tests.conftest import CLASSES
from tests.helpers.models import consumed
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

N_CLASSES = len(CLASSES)
LABELS = torch.arange(10) % N_CLASSES
SGD = OptimConfig(epochs=5, lr=0.01, weight_decay=0.1, warmup_epochs=0)
ALONE = {"unknown_weight": 0.0, "known_weight": 0.0, "new_weight": 0.0, "teacher_weight": 0.0}


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained_on(method, *, new_names=(), **options):
    """A method under OGEN that has seen ten examples, two of each class."""
    trainee = trained_by(method, [("ogen", OGENConfig(**options))])
    features = rows(len(LABELS), method.backbone.embed_dim)
    trainee.see_examples(Examples(tuple(map(str, range(len(LABELS)))), LABELS, features, new_names))
    return trainee


def coop(backbone, **options):
    torch.manual_seed(0)
    return create_method("coop", backbone, CLASSES, n_ctx=2, **options)


def batches_of(method, count=2):
    size = method.backbone.preprocess_cfg.image_size
    return [(consumed(method, torch.rand(5, 3, *size)), LABELS[:5], torch.arange(5)) for _ in range(count)]


# Generator, passes and statistics


def test_generated_features_have_unit_length_and_one_row_for_each_wanted_class():
    generator = Generator(8, heads=2)
    weights, new_weights = F.normalize(rows(5, 8), dim=-1), F.normalize(rows(4, 8, seed=1), dim=-1)
    labels, near = torch.tensor([0, 3]), torch.tensor([[1, 2, 4], [2, 1, 0]])
    given = Given(F.normalize(rows(2, 8), dim=-1), labels, near, rows(2, 3, 8), torch.tensor([[0, 1], [2, 3]]))
    made = make(generator, weights, new_weights, given, torch.tensor(10.0))
    for features, count in ((made.unknown, 2), (made.known, 6), (made.new, 4)):
        assert features.shape == (count, 8)
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(count))
    assert (made.unknown_logits.shape, made.known_logits.shape, made.new_logits.shape) == ((2, 5), (6, 5), (4, 4))


def test_weights_of_each_image_are_read_like_those_of_all():
    generator = Generator(8, heads=2).eval()
    weights, new_weights = F.normalize(rows(5, 8), dim=-1), F.normalize(rows(4, 8, seed=1), dim=-1)
    labels, near = torch.tensor([0, 3]), torch.tensor([[1, 2], [2, 1]])
    nearest = nearest_new(weights, new_weights, labels, 2)
    given = Given(F.normalize(rows(2, 8), dim=-1), labels, near, rows(2, 2, 8), nearest)
    shared = make(generator, weights, new_weights, given, torch.tensor(10.0))
    own = make(generator, weights.expand(2, -1, -1), new_weights.expand(2, -1, -1), given, torch.tensor(10.0))
    assert torch.equal(nearest_new(weights.expand(2, -1, -1), new_weights.expand(2, -1, -1), labels, 2), nearest)
    for name in ("unknown", "known", "new", "unknown_logits", "known_logits", "new_logits"):
        torch.testing.assert_close(getattr(own, name), getattr(shared, name))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="heads=4 does not divide the joint width 6; take 3"):
        Generator(6, heads=4)


def test_no_class_is_its_own_neighbour_and_few_classes_have_few():
    near = nearest_classes(rows(5, 8), 3)
    assert near.shape == (5, 3)
    assert not (near == torch.arange(5)[:, None]).any()
    assert nearest_classes(rows(2, 8), 3).tolist() == [[1], [0]]


def test_statistics_are_of_unit_features_and_a_single_image_has_no_spread():
    features, labels = 5 * rows(5, 8), torch.tensor([0, 0, 0, 0, 1])
    means, stds = class_statistics(features, labels, 2)
    unit = F.normalize(features, dim=-1)
    torch.testing.assert_close(means[0], unit[:4].mean(dim=0))
    torch.testing.assert_close(stds[0], unit[:4].std(dim=0, correction=0))
    assert not stds[1].any()
    with pytest.raises(ValueError, match="class 2 has no training image"):
        class_statistics(features, labels, 3)


def test_uniform_noise_is_one_vector_from_0_to_1_and_gaussian_noise_is_each_row_s_own():
    spread = rows(4, 3, 8).abs()
    uniform, gaussian = draw_noise(spread, "uniform"), draw_noise(spread, "gaussian")
    assert uniform.shape == (8,)
    assert 0 <= uniform.min() <= uniform.max() < 1
    assert gaussian.shape == spread.shape
    assert gaussian.min() < 0
    means = F.normalize(rows(4, 3, 8, seed=1), dim=-1)
    torch.testing.assert_close(features_of_known(means, spread, uniform, "uniform"), means + uniform * spread)
    assert torch.allclose(features_of_known(means, spread, gaussian, "gaussian").norm(dim=-1), torch.ones(4, 3))


# Who learns when


def test_in_the_warm_up_the_method_has_no_gradient_and_weight_decay_leaves_it_alone(tiny_clip):
    trainee = trained_on(coop(tiny_clip))
    ctx, generator = trainee.inner.context.ctx, copy.deepcopy(trainee.objective.generator)
    before, seen = ctx.detach().clone(), []

    def look(epoch):
        seen.append((ctx.grad is not None, torch.equal(ctx, before)))

    train(trainee, batches_of(trainee), SGD, on_epoch=look)
    assert seen[0] == (False, True)  # one epoch of five is a fifth
    assert seen[1:] == [(True, False)] * 4
    assert not torch.equal(trainee.objective.generator.ffn[0].weight, generator.ffn[0].weight)


@pytest.mark.parametrize(
    ("warmup", "epochs", "alone"), [(0.2, 10, 2), (0.2, 3, 1), (0.2, 15, 3), (0.0, 3, 0), (1.0, 2, 2)]
)
def test_the_warm_up_lasts_for_whole_epochs(tiny_clip, warmup, epochs, alone):
    trainee = trained_on(coop(tiny_clip), warmup=warmup, teacher_weight=0.0)
    warm = []
    optim = OptimConfig(epochs=epochs, lr=0.01, warmup_epochs=0)
    train(trainee, batches_of(trainee), optim, on_epoch=lambda epoch: warm.append(trainee.objective.is_warming_up))
    assert warm == [True] * alone + [False] * (epochs - alone)


def test_with_the_method_s_loss_alone_the_prompts_learn_as_at_a_quarter_of_the_rate(tiny_clip):
    plain, method = coop(tiny_clip), coop(tiny_clip)
    batches = batches_of(plain)
    trainee = trained_on(method, warmup=0.0, **ALONE)
    optim = OptimConfig(epochs=2, lr=0.04, weight_decay=0.0, warmup_epochs=0)
    train(trainee, batches, optim)
    train(plain, [batch[:2] for batch in batches], OptimConfig(epochs=2, lr=0.01, weight_decay=0.0, warmup_epochs=0))
    torch.testing.assert_close(method.context.ctx, plain.context.ctx, rtol=0, atol=1e-6)


def test_tests_and_adapters_know_nothing_of_the_generator(tiny_clip, tmp_path):
    method = coop(tiny_clip)
    trainee = trained_on(method)
    train(trainee, batches_of(trainee), SGD)
    x = batches_of(trainee)[0][0]
    before = trainee.logits(x)
    with torch.no_grad():
        for parameter in trainee.objective.parameters():
            parameter.fill_(torch.nan)
    assert torch.equal(trainee.logits(x), before)
    assert set(trainee.learnt_state()) == {"context.ctx"}


def test_the_same_seed_gives_the_same_training(tiny_clip):
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        method = create_method("coop", tiny_clip, CLASSES, n_ctx=2)
        trainee = trained_on(method)
        train(trainee, batches_of(trainee), SGD)
        found.append(method.learnt_state()["context.ctx"])
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "name", ["kgcoop", "cocoop", "tcp", "maple", "vpt", "promptsrc", "clip_adapter", "taskres", "clip_lora", "mma"]
)
def test_any_method_with_class_weights_is_trained(name, tiny_clip):
    torch.manual_seed(0)
    method = create_method(name, tiny_clip, CLASSES)
    before = method.learnt_state()
    trainee = trained_on(method)
    train(trainee, batches_of(trainee), SGD)
    after = method.learnt_state()
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert any(not torch.equal(after[key], before[key]) for key in before)


def test_generated_features_alone_teach_a_method_that_changes_images(tiny_clip):
    trainee = trained_on(create_method("clip_adapter", tiny_clip, CLASSES), warmup=0.0, own_weight=0.0)
    x, labels, _ = batches_of(trainee)[0]
    trainee.loss(x, labels).backward()
    assert all(parameter.grad.any() for parameter in trainee.inner.learnt_parameters().values())


def test_methods_without_class_weights_or_without_anything_to_learn_are_refused(tiny_clip):
    with pytest.raises(ValueError, match="LinearProbe has none; take a prompt learner such as coop"):
        trained_by(create_method("linear_probe", tiny_clip, CLASSES), ["ogen"])
    with pytest.raises(ValueError, match="ZeroShot learns nothing that ogen could train"):
        trained_by(create_method("zero_shot", tiny_clip, CLASSES), ["ogen"])
    with pytest.raises(ValueError, match="ProGrad finds its gradients in its own way"):
        trained_by(create_method("prograd", tiny_clip, CLASSES), ["ogen"])
    with pytest.raises(ValueError, match="and there is 1; give two"):
        trained_by(create_method("coop", tiny_clip, CLASSES[:1]), ["ogen"])
    with pytest.raises(ValueError, match="call see_examples"):
        trained_by(coop(tiny_clip), ["ogen"]).loss(rows(2, tiny_clip.embed_dim), LABELS[:2])


def test_the_class_texts_are_encoded_once_in_a_step_and_once_in_the_warm_up(tiny_clip, monkeypatch):
    trainee = trained_on(coop(tiny_clip), teacher_weight=0.0)
    calls, forward = [], type(trainee.inner.context).forward
    monkeypatch.setattr(
        type(trainee.inner.context), "forward", lambda self, *rest, **more: (calls.append(1), forward(self))[1]
    )
    per_epoch = []
    train(trainee, batches_of(trainee), SGD, on_epoch=lambda epoch: per_epoch.append(len(calls)))
    assert per_epoch == [1, 3, 5, 7, 9]


# Unknown names


def test_half_of_the_classes_are_hidden_and_at_least_two():
    assert [len(hide_half(count)) for count in (2, 3, 5, 6, 100)] == [LEAST_HIDDEN, 2, 2, 3, 50]
    drawn = {tuple(sorted(hide_half(6).tolist())) for _ in range(30)}
    assert len(drawn) > 5


def test_an_image_s_own_class_is_no_unknown_name_for_it():
    weights, hidden = F.normalize(rows(5, 8), dim=-1), torch.tensor([4, 0, 2])
    labels = torch.arange(5)
    nearest = nearest_new(weights, weights[hidden], labels, 3, hidden)
    assert nearest.shape == (5, 2)
    assert not (hidden[nearest] == labels[:, None]).any()


def test_two_classes_are_enough(tiny_clip):
    method = create_method("coop", tiny_clip, CLASSES[:2], n_ctx=2)
    trainee = trained_by(method, [("ogen", OGENConfig(warmup=0.0))])
    trainee.see_examples(Examples(("a", "b"), torch.tensor([0, 1]), rows(2, tiny_clip.embed_dim)))
    trainee.loss(rows(2, tiny_clip.embed_dim), torch.tensor([0, 1])).backward()
    assert method.context.ctx.grad.any()


def test_names_of_a_file_that_are_known_are_left_out(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("Ramen\nhighway or road\nviolin\nviolin\ntabby cat\n")
    with pytest.warns(UserWarning, match="3 of the 5 names of .* are known or come twice"):
        assert names_of_file(str(path), CLASSES) == ("violin", "tabby cat")
    path.write_text("ramen\n")
    with pytest.raises(ValueError, match=r"all 1 names of .* are names of the training"):
        names_of_file(str(path), CLASSES)


@pytest.mark.parametrize("name", ["coop", "clip_adapter", "taskres", "clip_lora"])
def test_names_of_a_file_get_class_weights_as_the_classes_have_them(name, tiny_clip, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("violin\ntabby cat\nsushi\n")
    method = create_method(name, tiny_clip, CLASSES)
    trainee = trained_on(method, unknown_names="file", names=str(path), warmup=0.0, names_per_step=2)
    unknown = trainee.objective.unknown
    alike = create_method(name, tiny_clip, ("violin", "tabby cat", "sushi"))
    if "encode_text" in method.provides:
        alike.load_learnt_state(method.learnt_state())
    torch.testing.assert_close(unknown.weights(method), alike.class_weights())
    torch.testing.assert_close(unknown.weights(method, torch.tensor([2])), alike.class_weights()[2:])
    assert (unknown.fixed is None) == (name in ("coop", "clip_lora"))  # else encoded once
    x, labels, _ = batches_of(trainee)[0]
    trainee.loss(x, labels).backward()


def test_names_of_the_tests_are_asked_for_told_in_a_warning_once_and_needed(tiny_clip):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainee = trained_on(coop(tiny_clip), unknown_names="dataset_new", new_names=("violin", "sushi"))
        train(trainee, batches_of(trainee), SGD)
    assert [str(one.message) for one in told if "ogen" in str(one.message)] == [
        "ogen sees the names of 2 classes that are tested and not learnt (unknown_names='dataset_new'), so they are no "
        "longer unknown; the record says so"
    ]
    assert trainee.objective.wants_new_names
    assert not trained_by(coop(tiny_clip), ["ogen"]).objective.wants_new_names
    with pytest.raises(ValueError, match="and there are none; take a protocol that has some"):
        trained_on(coop(tiny_clip), unknown_names="dataset_new")


def test_prompts_that_depend_on_the_image_take_their_own_classes_alone(tiny_clip):
    with (
        pytest.warns(UserWarning, match="no longer unknown"),
        pytest.raises(ValueError, match="prompts of CoCoOp depend on the image"),
    ):
        trained_on(create_method("cocoop", tiny_clip, CLASSES), unknown_names="dataset_new", new_names=("violin",))


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="give names as a file for"):
        OGENConfig(unknown_names="file")
    with pytest.raises(ValueError, match="and only there"):
        OGENConfig(names="names.txt")
    with pytest.raises(ValueError, match="window_least=5 is more than window_most=3"):
        OGENConfig(window_least=5, window_most=3)


# Teacher


def test_the_window_grows_from_the_least_to_the_most():
    lengths = [window_length(epoch / 50, 2, 9) for epoch in range(51)]
    assert (lengths[0], lengths[25], lengths[50]) == (2, 5, 9)
    assert lengths == sorted(lengths)


def test_the_average_starts_from_the_oldest_end():
    ends = [torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([4.0])]
    torch.testing.assert_close(average_of_ends(ends, 0.9), torch.tensor([0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 4]))


def test_the_teacher_is_the_average_of_the_student_s_last_epochs(tiny_clip):
    trainee = trained_on(coop(tiny_clip), warmup=0.0)
    ends = []
    train(
        trainee,
        batches_of(trainee),
        SGD,
        on_epoch=lambda epoch: ends.append(trainee.inner.context.ctx.detach().clone()),
    )
    n_ctx = ends[0].numel()
    kept = trainee.objective.teacher.ends[-4:, :n_ctx]
    torch.testing.assert_close(kept, torch.stack(ends[:4]).flatten(1))  # the last epoch has none behind it
    flat = trainee.objective.teacher.average(0.8)
    length = window_length(0.8, 2, 9)
    assert length > 4
    torch.testing.assert_close(flat, average_of_ends([end.flatten() for end in ends[:4]], 0.9))
    assert not any(parameter.requires_grad for parameter in trainee.objective.teacher.parameters())


def test_the_student_keeps_its_tensors_and_its_gradients_while_the_teacher_is_asked(tiny_clip):
    found = {}
    for weight in (0.0, 1e-12):
        trainee = trained_on(coop(tiny_clip), warmup=0.0, dropout=0.0, teacher_weight=weight)
        torch.manual_seed(1)
        x, labels, _ = batches_of(trainee)[0]
        trainee.begin_training(4)
        trainee.before_step(0)
        trainee.loss(x, labels)
        trainee.after_epoch(0)
        trainee.before_step(1)
        before = trainee.inner.context.ctx.detach().clone()
        torch.manual_seed(2)
        trainee.objective.generator.load_state_dict(Generator(trainee.backbone.embed_dim).state_dict())
        torch.manual_seed(3)
        trainee.loss(x, labels).backward()
        assert torch.equal(trainee.inner.context.ctx, before)
        found[weight] = trainee.inner.context.ctx.grad
    torch.testing.assert_close(found[1e-12], found[0.0])


def test_the_teacher_s_loss_is_zero_where_it_is_the_student_and_pulls_where_it_is_not(tiny_clip):
    trainee = trained_on(coop(tiny_clip), warmup=0.0, dropout=0.0)
    plain = trained_on(coop(tiny_clip), warmup=0.0, dropout=0.0, teacher_weight=0.0)
    plain.objective.generator.load_state_dict(trainee.objective.generator.state_dict())
    x, labels, _ = batches_of(trainee)[0]

    def losses():
        found = []
        for one in (trainee, plain):
            torch.manual_seed(1)
            found.append(float(one.loss(x, labels).detach()))
        return found

    for one in (trainee, plain):
        one.begin_training(4)
        one.before_step(0)
    first, alone = losses()
    assert first == alone  # no teacher yet
    for one in (trainee, plain):
        one.after_epoch(0)
        one.before_step(1)
    same, alone = losses()
    assert same == pytest.approx(alone, rel=1e-5)  # the teacher is the student
    with torch.no_grad():
        for one in (trainee, plain):
            one.inner.context.ctx.add_(0.5)
            one.objective.generator.ffn[2].bias.add_(0.5)
    apart, alone = losses()
    assert apart > alone + 0.1


def test_an_interrupted_training_goes_on_with_the_generator_the_warm_up_and_the_teacher(tiny_clip):
    batches = batches_of(coop(tiny_clip))
    trainee = trained_on(coop(tiny_clip), dropout=0.0)
    train(trainee, batches, SGD)
    trainee.train()
    other = trained_on(create_method("coop", tiny_clip, CLASSES, n_ctx=2), dropout=0.0)
    other.begin_training(10)
    other.load_training_state(trainee.training_state())
    other.train()
    found = []
    for one in (trainee, other):
        one.before_step(9)
        torch.manual_seed(4)
        found.append(float(one.loss(*batches[0][:2]).detach()))
    assert found[0] == found[1]
    assert not other.objective.is_warming_up


def test_the_objective_says_which_names_it_saw():
    from adaptkit.contract.registry import objective_class

    facts = objective_class("ogen").facts
    assert "held-out base classes" in facts(OGENConfig())[0]
    assert "tests' new classes were seen" in facts(OGENConfig(unknown_names="dataset_new"))[0]
    assert "of a file" in facts(OGENConfig(unknown_names="file", names="names.txt"))[0]
