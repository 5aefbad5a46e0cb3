"""Distillation of own images: which images and views are seen, the recipes, and the result."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adaptkit import ClassSet, create_method, load_backbone
from adaptkit.texts.descriptions import parse_descriptions
from adaptkit.weights.ood_distill import DistillationLossConfig, plan_for
from datasets_fewshot import FeatureStore
from tests.helpers.synthetic import synthetic_dataset
from trainers.config.settings import CheckpointConfig
from trainers.feeding.encoder import eval_view
from trainers.fit.distillation.classes import described, divided, held_out_classes
from trainers.fit.distillation.main import Distillation, distill, score_student
from trainers.fit.distillation.recipe import family_of, recipe, shortened_to
from trainers.fit.distillation.shots import first_shots, shot_keys, with_shots
from trainers.fit.distillation.views import StudentBatches, squashed, teacher_features


@pytest.fixture(scope="module")
def teacher():
    return load_backbone("adaptkit-mini")


@pytest.fixture
def dataset(tmp_path):
    return synthetic_dataset(tmp_path / "data", train=6, val=0, test=2)


@pytest.fixture
def plan(teacher):
    return plan_for(teacher, "test_vit")


def settings(epochs=2, **kwargs):
    chosen = recipe("vit", 100)
    optim = replace(shortened_to(chosen.optim, epochs), batch_size=8, lr=1e-3)
    return Distillation(replace(chosen, optim=optim), **kwargs)


def batches_of(dataset, plan, teacher, **kwargs):
    images = squashed(dataset, plan, teacher)
    return StudentBatches(images, dataset.split.train, teacher.preprocess_cfg, False, 4, 1, **kwargs)


def test_held_out_classes_never_appear_in_training_batches(dataset, plan, teacher):
    held_out = held_out_classes(dataset.classnames, 0.5, seed=3)
    seen, unseen = divided(dataset, held_out)
    assert set(seen.classnames) | set(held_out) == set(dataset.classnames)
    assert unseen.classnames == held_out
    assert not {item.path for part in seen.split for item in part} & {i.path for part in unseen.split for i in part}
    shown = set()
    for _, labels, places in batches_of(seen, plan, teacher):
        shown |= {seen.split.train[place].classname for place in places.tolist()}
        assert labels.tolist() == [seen.split.train[place].label for place in places.tolist()]
    assert shown == set(seen.classnames)


def test_too_few_classes_and_unknown_ones_are_refused(dataset):
    with pytest.raises(ValueError, match="leaves 3 to train on and 1 to test on"):
        held_out_classes(dataset.classnames, 0.3, seed=1)
    with pytest.raises(ValueError, match="'dog' is no class"):
        divided(dataset, ["dog"])


def test_kept_teacher_features_are_those_computed_again_and_the_image_is_squashed(tmp_path, plan, teacher):
    dataset = synthetic_dataset(tmp_path / "data")
    for item in dataset.split.train:
        Image.open(dataset.path(item)).resize((60, 30)).save(dataset.path(item))
    images, items = squashed(dataset, plan, teacher), dataset.split.train
    assert images.load(items[0]).size == (55, 55)  # 8/7 of 48
    store = FeatureStore(tmp_path / "store")
    first = teacher_features(images, items, teacher, store)
    again = teacher_features(images, items, teacher, store)
    computed = teacher_features(images, items, teacher, None)
    assert torch.equal(first, again)
    torch.testing.assert_close(first, computed)
    square = dataset.load(items[0]).resize((55, 55), Image.Resampling.BICUBIC)
    by_hand = teacher.encode_image(eval_view(square, teacher.preprocess_cfg)[None])[0]
    torch.testing.assert_close(first[0], by_hand, rtol=1e-4, atol=1e-5)
    plain = teacher.encode_image(eval_view(dataset.load(items[0]), teacher.preprocess_cfg)[None])[0]
    assert F.cosine_similarity(plain, by_hand, dim=0) < 0.999


def test_every_epoch_shows_other_views_and_a_batch_can_be_sought(dataset, plan, teacher):
    batches = batches_of(dataset, plan, teacher)
    first, second = list(batches), list(batches)
    assert not torch.equal(first[0][0], second[0][0])
    sought = batches_of(dataset, plan, teacher)
    sought.seek(1, 2)
    found = list(sought)
    assert len(found) == len(second) - 2
    assert torch.equal(found[0][0], second[2][0])


def test_rand_augment_changes_views(dataset, plan, teacher):
    plain, changed = batches_of(dataset, plan, teacher), batches_of(dataset, plan, teacher)
    changed.rand_augment = True
    assert not torch.equal(next(iter(plain))[0], next(iter(changed))[0])


@pytest.mark.parametrize("paired_views", [False, True])
def test_a_student_is_trained_and_the_same_seed_gives_the_same(dataset, plan, teacher, paired_views):
    classes = ClassSet(dataset.classnames)
    one, other = (distill(dataset, classes, teacher, plan, settings(3, paired_views=paired_views)) for _ in range(2))
    assert one.losses[-1] < one.losses[0]
    assert one.student.weights_hash == other.student.weights_hash
    different = distill(dataset, classes, teacher, plan, settings(3, paired_views=paired_views, seed=2))
    assert different.student.weights_hash != one.student.weights_hash


def test_a_training_that_was_stopped_goes_on_and_ends_alike(dataset, plan, teacher, tmp_path):
    classes, often = ClassSet(dataset.classnames), CheckpointConfig(seconds=0, steps=1)

    def stop(done):
        raise KeyboardInterrupt

    whole = distill(dataset, classes, teacher, plan, settings(3))
    with pytest.raises(KeyboardInterrupt):
        distill(dataset, classes, teacher, plan, settings(3), work=tmp_path, checkpoint=often, on_epoch=stop)
    passes = []
    rest = distill(
        dataset, classes, teacher, plan, settings(3), work=tmp_path, checkpoint=often, on_epoch=passes.append
    )
    assert rest.student.weights_hash == whole.student.weights_hash
    assert rest.losses == pytest.approx(whole.losses)
    assert 1 in passes  # the checkpoint is from the last step of the first pass, before its end


def test_a_score_compares_student_and_teacher(dataset, plan, teacher):
    classes = ClassSet(dataset.classnames)
    student = distill(dataset, classes, teacher, plan, settings(1)).student
    score = score_student(dataset, dataset.split.test, student, teacher, classes)
    assert (score.images, score.classes) == (8, 4)
    assert 0 <= score.student <= 100
    assert -1 <= score.spaces.mean_cosine <= 1


def test_captions_are_learnt_from_and_missing_ones_are_named(dataset, plan, teacher):
    classes = ClassSet(dataset.classnames)
    captions = {item.path: [f"a {item.classname} of one colour"] for item in dataset.split.train}
    loss = DistillationLossConfig(cap=1.0)
    log = distill(dataset, classes, teacher, plan, settings(1, loss=loss), captions=captions).losses
    plain = distill(dataset, classes, teacher, plan, settings(1)).losses
    assert log[0] > plain[0]
    missing = dict(list(captions.items())[1:])
    with pytest.raises(ValueError, match="1 of 24 training images have no caption"):
        distill(dataset, classes, teacher, plan, settings(1, loss=loss), captions=missing)


def test_an_adapted_teacher_is_imitated_in_its_own_words(dataset, plan, teacher):
    adapter = create_method("coop", teacher, ["other", "names"], n_ctx=2)
    classes = ClassSet(dataset.classnames)
    distill(dataset, classes, teacher, plan, settings(1), adapted=adapter)
    assert adapter.classes.classnames == dataset.classnames
    with pytest.raises(ValueError, match="paired_views shows the frozen teacher"):
        distill(dataset, classes, teacher, plan, settings(1, paired_views=True), adapted=adapter)
    with pytest.raises(ValueError, match="has no class weights that hold for every image"):
        distill(dataset, classes, teacher, plan, settings(1), adapted=create_method("cocoop", teacher, ["a", "b"]))


def test_a_student_is_gone_on_from(dataset, plan, teacher):
    classes = ClassSet(dataset.classnames)
    start = distill(dataset, classes, teacher, plan, settings(1)).student
    still = settings(1)
    still = replace(still, recipe=replace(still.recipe, optim=replace(still.recipe.optim, lr=1e-12)))
    on = distill(dataset, classes, teacher, plan, still, start=start).student
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(on.encode_image(images), start.encode_image(images), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="is no student of the plan"):
        distill(dataset, classes, teacher, plan_for(teacher, "test_resnet"), settings(1), start=start)


def test_data_without_training_images_are_refused(dataset, plan, teacher):
    empty = replace(dataset, split=replace(dataset.split, train=()))
    with pytest.raises(ValueError, match="no training images to distil from"):
        distill(empty, ClassSet(dataset.classnames), teacher, plan, settings(1))


def test_a_single_class_and_unread_captions_are_refused(dataset, plan, teacher):
    with pytest.raises(ValueError, match="has 1 class; a student learns from two or more"):
        distill(dataset, ClassSet(("one",)), teacher, plan, settings(1))
    with pytest.raises(ValueError, match="the weight cap is 0"):
        distill(dataset, ClassSet(dataset.classnames), teacher, plan, settings(1), captions={"a": ["b"]})


def test_shots_are_the_first_different_files_of_every_class(dataset):
    shots = first_shots((*dataset.split.train, *dataset.split.train), 5)
    for label in range(4):
        own = [item.path for item in shots if item.label == label]
        assert own == sorted(item.path for item in dataset.split.train if item.label == label)[:5]
    with pytest.raises(ValueError, match="has 6 images; 7 shots"):
        first_shots(dataset.split.train, 7)


def test_every_shot_has_ten_keys_of_which_the_first_is_the_image_itself(dataset, plan, teacher):
    images = squashed(dataset, plan, teacher)
    shots = first_shots(dataset.split.train, 5)
    keys = shot_keys(images, shots, teacher)
    assert keys.shape == (4, 50, 128)
    own = F.normalize(teacher_features(images, shots, teacher, None), dim=-1)
    torch.testing.assert_close(keys[:, ::10].reshape(20, 128), own, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(keys[0, 0], keys[0, 1])


def test_fine_tuning_shows_the_old_images_and_five_files_of_each_new_class(dataset):
    seen, unseen = divided(dataset, held_out_classes(dataset.classnames, 0.5, seed=1))
    both = with_shots(seen, unseen, first_shots(unseen.split.train, 5))
    assert both.classnames == (*seen.classnames, *unseen.classnames)
    for label, name in enumerate(both.classnames):
        own = {item.path for item in both.split.train if item.label == label}
        assert len(own) == (6 if name in seen.classnames else 5)


def test_class_texts_are_the_released_ones(teacher):
    descriptions = parse_descriptions('{"corgi": ["short legs", "{} ears"], "tea pot": ["a spout"]}', "here")
    plain = described(["corgi", "tea_pot"], None, teacher.tokenizer)
    assert plain.texts == (("a photo of a corgi.",), ("a photo of a tea pot.",))
    texts = described(["corgi", "tea_pot"], descriptions, teacher.tokenizer).texts
    assert texts == (("a photo of a corgi . short legs,  ears",), ("a photo of a tea pot . a spout",))
    with pytest.raises(ValueError, match="say nothing of the class 'violin'"):
        described(["corgi", "violin"], descriptions, teacher.tokenizer)


def test_recipes_are_the_papers():
    resnet, vit = recipe("resnet", 4000).optim, recipe("vit", 50_000).optim
    assert (resnet.name, resnet.lr, resnet.momentum, resnet.weight_decay) == ("sgd", 0.05, 0.9, 1e-4)
    assert (resnet.epochs, resnet.stepsize, resnet.gamma) == (450, 150, 0.1)
    assert recipe("resnet", 50_000).optim.epochs == 90
    assert (vit.name, vit.lr, vit.weight_decay, vit.epochs, vit.lr_scheduler) == ("adamw", 1e-4, 0.01, 270, "one_cycle")
    few = [recipe(family, 100, "few_shot").optim for family in ("resnet", "vit")]
    assert [(each.lr, each.epochs, each.lr_scheduler) for each in few] == [
        (1e-3, 20, "one_cycle"),
        (2e-4, 60, "one_cycle"),
    ]
    assert recipe("vit", 100).rand_augment
    assert not recipe("resnet", 100).rand_augment
    assert [family_of(name) for name in ("resnet18", "vit_base_patch32_224", "mobilenetv3_small_050")] == [
        "resnet",
        "vit",
        "resnet",
    ]


def test_shortened_schedules_keep_their_form():
    assert shortened_to(recipe("resnet", 100).optim, 9).stepsize == 3
    assert shortened_to(recipe("vit", 100).optim, 20).lr_scheduler == "one_cycle"
    assert shortened_to(recipe("vit", 100).optim, 2).lr_scheduler == "cosine_steps"
