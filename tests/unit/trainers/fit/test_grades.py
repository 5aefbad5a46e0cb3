"""Training on graded images: who learns from whom, what is kept, and the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit import create_head
from datasets_fewshot.own.graded_table import GradedImage
from trainers.cli import main
from trainers.fit.grades import (
    GradeTraining,
    answer_features,
    divided,
    predicted_grades,
    train_grades,
    training_features,
)


def graded(tmp_path, count, part=None, group=None):
    return [GradedImage(tmp_path / f"{n}.png", n, group(n) if group else str(n), part) for n in range(count)]


def test_groups_stay_together_and_every_image_is_in_one_part(tmp_path):
    images = graded(tmp_path, 60, group=lambda n: str(n // 4))
    parts = divided(images, seed=3)
    assert sorted(image.grade for part in parts for image in part) == list(range(60))
    for part in parts:
        rest = {image.group for other in parts if other is not part for image in other}
        assert not {image.group for image in part} & rest


def test_parts_of_the_table_are_kept_and_validation_is_taken_from_training(tmp_path):
    images = graded(tmp_path, 20, "train") + graded(tmp_path, 5, "test")
    train, val, test = divided(images, seed=1)
    assert (len(train), len(val), len(test)) == (16, 4, 5)
    assert all(image.part == "train" for image in val)


def test_too_few_groups_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"0 graded images are for train, of 8"):
        divided(graded(tmp_path, 8, group=lambda n: "same"), seed=1)


def test_the_best_epoch_on_validation_images_is_kept(tiny_clip):
    draw = torch.Generator().manual_seed(0)
    features, grades = torch.randn(40, 3, tiny_clip.embed_dim, generator=draw), torch.rand(40, generator=draw)
    head = create_head("uniqa_adapter", tiny_clip)
    settings = GradeTraining(epochs=6, lr=0.01)
    val = features[:10], grades[:10].tolist()
    log = train_grades(head, features[10:], grades[10:], *val, settings)
    assert log.losses[-1] < log.losses[0]
    assert log.kept == max(range(6), key=lambda epoch: log.validation[epoch].srcc)
    from trainers.evaluation.agreement import agreement

    assert agreement(predicted_grades(head, val[0]), val[1]).srcc == pytest.approx(log.validation[log.kept].srcc)


def test_a_head_that_learns_nothing_is_refused(tiny_clip):
    head = create_head("uniqa_adapter", tiny_clip, adapter=False, learnt_values="none")
    features = torch.randn(4, 1, tiny_clip.embed_dim)
    with pytest.raises(ValueError, match="learns nothing"):
        train_grades(head, features, torch.rand(4), features, [0.0, 1.0, 2.0, 3.0], GradeTraining())


def test_grades_of_crops_are_those_of_the_answers(tiny_clip):
    pictures = [Image.fromarray(np.full((50, 60, 3), shade, dtype=np.uint8)) for shade in (0, 90, 200)]
    head = create_head("uniqa_adapter", tiny_clip, crops=2)
    answers = [answer["grade"] for answer in head.answers(pictures)]
    assert predicted_grades(head, answer_features(head, pictures)) == pytest.approx(answers, abs=1e-5)
    assert training_features(head, pictures, GradeTraining(crops=4)).shape == (3, 4, tiny_clip.embed_dim)


@pytest.fixture
def shades(tmp_path):
    """Images from dark to bright with a table that grades them, and phrases for it."""
    lines = ["picture,brightness"]
    for number in range(30):
        noise = np.random.default_rng(number).integers(0, 20, (52, 52, 3))
        Image.fromarray((number * 8 * (number < 29) + noise).astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number * (number < 29)}")
    (tmp_path / "shades.csv").write_text("\n".join(lines))
    (tmp_path / "prompts.yaml").write_text("- [dark, dim, bright]\n- [black, grey, white]\n")
    return tmp_path


def test_the_command_trains_evaluates_and_predicts(shades, capsys):
    table, head = str(shades / "shades.csv"), str(shades / "head")
    words = ["grade", "train", table, "--out", head, "--prompts", str(shades / "prompts.yaml"), "--lr", "0.01"]
    assert main([*words, "--grade-column", "brightness", "--epochs", "10", "--crops", "2", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert (trained["train"], trained["val"], trained["trained"]["images"]) == (19, 5, 6)
    assert main(["grade", "eval", head, table, "--grade-column", "brightness", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 30
    assert found["srcc"] > 0.5
    assert main(["predict", head, "--json", str(shades / "3.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [list(group["levels"]) for group in answer["groups"]] == [
        ["dark", "dim", "bright"],
        ["black", "grey", "white"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompts", "colour"], "is none of quality, ensemble"),
        (["--range", "1"], "expected two numbers, WORST,BEST"),
        (["--range", "2,2"], "worst and best are both 2.0"),
        (["--labels", "100"], "there are 19 images for training"),
        (["--grade-column", "shade"], "--grade-column is 'shade'"),
    ],
)
def test_the_command_refuses_in_one_line(words, message, shades, capsys):
    given = words if "--grade-column" in words else [*words, "--grade-column", "brightness"]
    assert main(["grade", "train", str(shades / "shades.csv"), "--out", str(shades / "head"), *given]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (shades / "head").exists()


def test_eval_refuses_what_gives_no_grades(shades, tiny_clip, capsys):
    import adaptkit

    method = adaptkit.create_method("zero_shot", adaptkit.load_backbone("adaptkit-mini"), ["a", "b"])
    method.save_pretrained(shades / "method")
    words = ["grade", "eval", str(shades / "method"), str(shades / "shades.csv"), "--grade-column", "brightness"]
    assert main(words) == 2
    assert "gives no grades" in capsys.readouterr().err
