"""The UniQA adapter: its scores, its groups of prompts, and its crops."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from adaptkit import create_head, load_backbone, load_head
from adaptkit.heads.graded_prompts import ANTONYMS, ENSEMBLE, GENERATED, QUALITY, check_groups, read_groups
from adaptkit.heads.uniqa_adapter import UniQAAdapter
from adaptkit.regular_file import FileError
from datasets_fewshot import load_dataset


def head_of(backbone, **options) -> UniQAAdapter:
    made = create_head("uniqa_adapter", backbone, **options)
    assert isinstance(made, UniQAAdapter)
    return made


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("groups", [QUALITY, ENSEMBLE, GENERATED])
def test_a_zero_shot_score_lies_between_the_values_of_the_levels(groups, tiny_clip, batch):
    head = head_of(tiny_clip, prompt_groups=groups, adapter=False, learnt_values="none")
    assert not head.learnt_parameters()
    probabilities = head(batch[0])
    assert probabilities.shape == (6, len(groups), 5)
    scores = head.scores(probabilities)
    assert float(scores.min()) >= 0.2
    assert float(scores.max()) <= 1.0


def test_two_opposite_phrases_are_clips_own_softmax(tiny_clip, batch):
    head = head_of(tiny_clip, prompt_groups=ANTONYMS, values=(0.0, 1.0), adapter=False, learnt_values="none")
    features = tiny_clip.encode_image(batch[0])
    good = tiny_clip.logits(features, tiny_clip.encode_text(ANTONYMS[0])).softmax(dim=-1)[:, 1]
    torch.testing.assert_close(head.grades(features), good)


def test_as_many_numbers_are_learnt_as_the_paper_counts(tiny_clip):
    width = tiny_clip.embed_dim
    learnt = head_of(tiny_clip).learnt_parameters().values()
    assert sum(parameter.numel() for parameter in learnt) == 2 * width * (width // 2) + 5


def test_a_small_up_projection_starts_near_zero_shot(tiny_clip, batch):
    plain = head_of(tiny_clip, adapter=False)(batch[0])
    near = (head_of(tiny_clip, up_scale=1e-4)(batch[0]) - plain).abs().max()
    far = (head_of(tiny_clip)(batch[0]) - plain).abs().max()
    assert near < 1e-3 < far


def test_features_of_unit_length_make_the_adapter_blind_to_their_scale(tiny_clip, batch):
    features = tiny_clip.encode_image(batch[0])
    head = head_of(tiny_clip, pre_norm=True)
    torch.testing.assert_close(head.outputs(features), head.outputs(3 * features))


@pytest.mark.parametrize("values", [(), (0.1, 0.3, 0.35, 0.8, 0.9)])
def test_rising_values_start_as_given_and_stay_in_order(values, tiny_clip, batch):
    head = head_of(tiny_clip, learnt_values="rising", values=values)
    torch.testing.assert_close(head.values, torch.tensor(values or (0.2, 0.4, 0.6, 0.8, 1.0)))
    optimizer = torch.optim.Adam(head.learnt_parameters().values(), lr=0.1)
    features, upside_down = tiny_clip.encode_image(batch[0]), torch.linspace(1, 0, 6)
    for _ in range(20):
        optimizer.zero_grad()
        head.loss(features, upside_down).backward()
        optimizer.step()
    assert (head.values.diff() > 0).all()


def test_grades_have_the_users_units_and_direction(tiny_clip, batch):
    features = tiny_clip.encode_image(batch[0])
    torch.manual_seed(0)
    plain = head_of(tiny_clip)
    torch.manual_seed(0)
    less_is_better = head_of(tiny_clip, worst=5.0, best=1.0)
    torch.testing.assert_close(less_is_better.grades(features), 5 - 4 * plain.grades(features))
    grades = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 1.5])
    torch.testing.assert_close(less_is_better.loss(features, grades), plain.loss(features, (5 - grades) / 4))
    answer = less_is_better.answers(batch[0][:1])[0]
    assert answer["grade"] == pytest.approx(less_is_better.grades(features)[0].item(), abs=1e-4)


def test_an_answer_is_the_mean_over_crops_at_the_images_own_resolution(tiny_clip):
    head, image = head_of(tiny_clip, prompt_groups=ENSEMBLE, crops=3), picture(90, 70)
    views = head.views(image)
    assert views.shape == (3, 3, 32, 32)
    whole = np.asarray(image)
    restored = views[0] * torch.tensor(tiny_clip.preprocess_cfg.std)[:, None, None]
    restored = restored + torch.tensor(tiny_clip.preprocess_cfg.mean)[:, None, None]
    cut = (restored * 255).round().permute(1, 2, 0).to(torch.uint8).numpy()
    places = [(top, left) for top in range(39) for left in range(59)]
    assert any(np.array_equal(whole[top : top + 32, left : left + 32], cut) for top, left in places)
    single = [head.grades(tiny_clip.encode_image(view[None])) for view in views]
    (answer,) = head.answers(image)
    assert answer["grade"] == pytest.approx(float(torch.cat(single).mean()), abs=1e-5)
    assert answer["grade"] == pytest.approx(np.mean([group["grade"] for group in answer["groups"]]), abs=1e-5)
    assert all(sum(group["levels"].values()) == pytest.approx(1, abs=1e-5) for group in answer["groups"])


@pytest.mark.parametrize("size", [(20, 20), (40, 20), (20, 300), (32, 32)])
def test_an_image_that_is_smaller_than_a_crop_is_graded_too(size, tiny_clip):
    assert head_of(tiny_clip, crops=2).views(picture(*size)).shape == (2, 3, 32, 32)


def test_without_crops_an_image_is_prepared_as_the_backbone_does(tiny_clip):
    head, image = head_of(tiny_clip, crops=0), picture(90, 70)
    (answer,) = head.answers(image)
    expected = head.grades(tiny_clip.encode_image(tiny_clip.preprocess(image)[None]))
    assert answer["grade"] == pytest.approx(float(expected), abs=1e-5)


def test_a_saved_head_keeps_its_phrases_and_units(tiny_clip, tmp_path):
    groups = (("unripe fruit", "ripe fruit", "overripe fruit"), ("green fruit", "yellow fruit", "brown fruit"))
    head = head_of(tiny_clip, prompt_groups=groups, worst=10.0, best=0.0)
    head.save_pretrained(tmp_path / "head")
    restored = load_head(tmp_path / "head", tiny_clip)
    assert restored.spec == head.spec
    assert restored.answers(picture(40, 40)) == head.answers(picture(40, 40))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_groups": ()}, "no group of prompts"),
        ({"prompt_groups": (("good",),)}, "group 1 of the prompts has 1 phrases"),
        (
            {"prompt_groups": (("bad", "good"), ("a", "b", "c"))},
            "group 2 of the prompts has 3 phrases and group 1 has 2",
        ),
        ({"prompt_groups": (("bad", " "),)}, "group 1 of the prompts has an empty phrase"),
        ({"values": (0.0, 1.0)}, "expected 5, one for each phrase"),
        ({"values": (0.1, 0.2, 0.2, 0.3, 0.4), "learnt_values": "rising"}, "do not rise"),
        ({"worst": 2.0, "best": 2.0}, "worst and best are both 2.0"),
    ],
)
def test_options_that_grade_nothing_are_refused(options, message, tiny_clip):
    with pytest.raises(ValueError, match=message):
        head_of(tiny_clip, **options)


def test_groups_are_read_from_json_and_yaml(tmp_path):
    (tmp_path / "one.json").write_text('["unripe", "ripe"]')
    (tmp_path / "two.yaml").write_text("- [clear sky, cloudy sky]\n- [sunny day, grey day]\n")
    assert read_groups(tmp_path / "one.json") == (("unripe", "ripe"),)
    assert read_groups(tmp_path / "two.yaml") == (("clear sky", "cloudy sky"), ("sunny day", "grey day"))


@pytest.mark.parametrize("text", ["{}", "[[1, 2]]", '["a", ["b"]]', "3", "[[]]"])
def test_a_file_of_something_else_is_refused(text, tmp_path):
    (tmp_path / "it.json").write_text(text)
    with pytest.raises(FileError, match="write one list of phrases for each group"):
        read_groups(tmp_path / "it.json")


def test_a_file_with_groups_of_several_lengths_is_refused_by_name(tmp_path):
    (tmp_path / "it.json").write_text('[["a", "b"], ["a"]]')
    with pytest.raises(ValueError, match=r"it\.json.*group 2"):
        read_groups(tmp_path / "it.json")


def test_the_papers_groups_grade():
    for groups in (QUALITY, ENSEMBLE, GENERATED, ANTONYMS):
        check_groups(groups)


@pytest.mark.slow
def test_trained_grades_fall_as_images_of_unseen_content_are_blurred():
    backbone, dataset = load_backbone("adaptkit-mini"), load_dataset("emoji_food")
    sigmas, items = (0.0, 0.7, 1.4, 2.8), dataset.split.train[:80]
    images = [
        dataset.load(item).convert("RGB").filter(ImageFilter.GaussianBlur(sigma)) for item in items for sigma in sigmas
    ]
    head = head_of(backbone, up_scale=0.01)
    with torch.no_grad():
        features = torch.stack([backbone.encode_image(head.views(image)) for image in images])  # (N, V, D)
    grades = torch.linspace(1, 0, len(sigmas)).repeat(len(items))
    optimizer = torch.optim.Adam(head.learnt_parameters().values(), lr=2e-3)
    for step in range(400):
        places = torch.randint(240, (16,))
        loss = head.loss(features[places, step % 10], grades[places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen = head.grades(features[240:]).mean(dim=1).unflatten(0, (-1, len(sigmas))).mean(dim=0)
    assert (unseen.diff() < 0).all(), unseen
