"""Teachers of PromptKD: saved ones travel with the student, and wider ones give it their space."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import load_file

import adaptkit
import adaptkit.prompts.promptkd.teacher as teachers
from adaptkit import FrozenCLIP, Support, create_head, create_method
from adaptkit.prompts.promptkd import KEPT
from adaptkit.prompts.promptkd.teacher import seen_by
from tests.helpers.models import TEXT, VISION, build

NOVEL = ["tabby cat", "violin"]


@pytest.fixture
def large() -> FrozenCLIP:
    """A backbone of another width, for images of another size, mean and deviation."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = CLIP(48, {**VISION, "image_size": 48}, TEXT, quick_gelu=True)
    model.visual.preprocess_cfg = {"size": 48, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return FrozenCLIP(model, open_clip.SimpleTokenizer(context_length=TEXT["context_length"]), "large")


def adapted(backbone, classes, name="promptsrc"):
    """A teacher that differs from zero-shot."""
    method = create_method(name, backbone, classes)
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.3)
    return method.eval()


@pytest.fixture
def folder(tiny_clip, classes, tmp_path):
    return str(adapted(tiny_clip, classes).save_pretrained(tmp_path / "teacher"))


def test_a_saved_teacher_gives_its_logits_and_class_features(tiny_clip, classes, batch, folder):
    teacher, student = adaptkit.load(folder, tiny_clip), create_method("promptkd", tiny_clip, classes, teacher=folder)
    with torch.no_grad():
        torch.testing.assert_close(student.teacher.logits(batch[0]), teacher(batch[0]))
        torch.testing.assert_close(student.class_weights(), teacher.class_weights())
        torch.testing.assert_close(student.encode_text(["a cat"]), teacher.encode_text(["a cat"]))


def test_on_its_own_weights_teacher_and_student_share_them(tiny_clip, classes, folder, batch):
    student = create_method("promptkd", tiny_clip, classes, teacher=folder)
    assert student.teacher.method.backbone.model is tiny_clip.model
    assert not any(name.startswith("teacher") for name in student.learnt_parameters())
    assert not any("teacher" in name for name, _ in student.named_modules())
    student.train().backward(*batch)
    assert all(parameter.grad is None for parameter in student.teacher.method.parameters())
    assert not student.teacher.method.training


def test_a_loaded_student_needs_no_teacher_for_its_classes(tiny_clip, classes, batch, folder, tmp_path, monkeypatch):
    student = create_method("promptkd", tiny_clip, classes, teacher=folder).train()
    student.backward(*batch)
    place = student.save_pretrained(tmp_path / "student")
    assert folder not in (place / "adapter_config.json").read_text()
    with monkeypatch.context() as patched:
        patched.setattr(teachers, "load_files", None)
        loaded = adaptkit.load(place, tiny_clip)
        assert loaded.spec.config.teacher == KEPT
        with torch.no_grad():
            assert torch.equal(loaded(batch[0]), student.eval()(batch[0]))
        again = adaptkit.load(loaded.save_pretrained(tmp_path / "again"), tiny_clip)
    loaded.set_classes(NOVEL)
    teacher = adaptkit.load(folder, tiny_clip)
    teacher.set_classes(NOVEL)
    torch.testing.assert_close(loaded.class_weights(), teacher.class_weights())
    again.train().backward(*batch)  # it goes on learning from the teacher that it came with
    with torch.no_grad():
        torch.testing.assert_close(again.teacher.logits(batch[0]), adaptkit.load(folder, tiny_clip)(batch[0]))


def test_a_student_of_other_names_is_loaded_with_their_features(tiny_clip, classes, batch, folder, tmp_path):
    student = create_method("promptkd", tiny_clip, classes, teacher=folder).eval()
    student.set_classes(NOVEL)
    loaded = adaptkit.load(student.save_pretrained(tmp_path / "student"), tiny_clip)
    with torch.no_grad():
        assert torch.equal(loaded(batch[0]), student(batch[0]))


def test_a_wider_teacher_gives_its_space(tiny_clip, large, classes, batch, tmp_path):
    teacher = adapted(large, classes)
    student = create_method("promptkd", tiny_clip, classes).train()
    student.take_teacher(teacher)
    assert student.encode_image(batch[0]).shape == (6, 48)
    assert student.class_weights().shape == (len(classes), 48)
    images = seen_by(large, batch[0], tiny_clip)
    with torch.no_grad():
        torch.testing.assert_close(student.teacher.logits(batch[0]), teacher(images))
    student.backward(*batch)
    place = student.save_pretrained(tmp_path / "student")
    loaded = adaptkit.load(place, build("clip_vit"))
    with torch.no_grad():
        assert torch.equal(loaded(batch[0]), student.eval()(batch[0]))
    with pytest.raises(ValueError, match=r"teacher of promptkd cannot be loaded: .*large.*take_teacher\(teacher\)"):
        loaded.set_classes(NOVEL)
    assert loaded.classes.classnames == classes
    with torch.no_grad():
        assert torch.equal(loaded(batch[0]), student(batch[0]))
    loaded.take_teacher(teacher)
    loaded.set_classes(NOVEL)
    torch.testing.assert_close(loaded.class_weights(), teacher.class_weights())
    assert loaded(batch[0]).shape == (6, 2)


def test_the_embedded_backbone_loads_by_its_name(classes, batch, tmp_path):
    mini = adaptkit.load_backbone("adaptkit-mini")
    folder = adapted(mini, classes).save_pretrained(tmp_path / "teacher")
    student = create_method("promptkd", build("clip_vit"), classes, teacher=str(folder)).train()
    student.backward(*batch)
    assert student.teacher.method.backbone.name == "adaptkit-mini"
    loaded = adaptkit.load(student.save_pretrained(tmp_path / "student"), build("clip_vit"))
    loaded.set_classes(NOVEL)
    assert loaded(batch[0]).shape == (6, 2)


def test_preprocessed_images_are_seen_as_the_teacher_takes_them(tiny_clip, large):
    pixels = torch.rand(2, 3, 1, 1).expand(2, 3, 32, 32)
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (tiny_clip.preprocess_cfg.mean, tiny_clip.preprocess_cfg.std)
    )
    seen = seen_by(large, (pixels - mean) / std, tiny_clip)
    assert seen.shape == (2, 3, 48, 48)
    torch.testing.assert_close(seen, ((pixels - 0.5) / 0.5)[..., :1, :1].expand(2, 3, 48, 48), rtol=1e-4, atol=1e-4)
    as_bytes = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    assert seen_by(large, as_bytes, tiny_clip) is as_bytes  # it preprocesses pixels itself
    same = torch.randn(2, 3, 32, 32)
    assert seen_by(tiny_clip, same, tiny_clip) is same


def test_a_teacher_whose_texts_depend_on_the_image_is_refused(tiny_clip, classes, tmp_path):
    folder = create_method("cocoop", tiny_clip, classes, ctx_init="").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"teacher of promptkd is cocoop, whose prompts or head depend on the image"):
        create_method("promptkd", tiny_clip, classes, teacher=str(folder))


def test_a_head_is_no_teacher(tiny_clip, classes, tmp_path):
    folder = create_head("uniqa_adapter", tiny_clip).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"the head 'uniqa_adapter', which tells no classes apart"):
        create_method("promptkd", tiny_clip, classes, teacher=str(folder))


def test_a_teacher_that_is_bound_to_its_classes_binds_the_student(tiny_clip, classes, batch, tmp_path):
    teacher = create_method("taskres", tiny_clip, classes)
    assert teacher.bound_to_classes
    folder = str(teacher.save_pretrained(tmp_path / "teacher"))
    student = create_method("promptkd", tiny_clip, classes, teacher=folder)
    with pytest.raises(TypeError, match="its teacher, taskres, is bound to the 5 classes"):
        student.set_classes(NOVEL)
    with pytest.raises(ValueError, match="teacher of promptkd has 5 classes and the student 2 others"):
        create_method("promptkd", tiny_clip, NOVEL, teacher=folder)
    loaded = adaptkit.load(student.save_pretrained(tmp_path / "student"), tiny_clip)
    assert "taskres" in loaded.bound_to_classes


def test_a_path_without_an_adapter_is_refused(tiny_clip, classes, tmp_path):
    for wrong in ("nowhere", str(tmp_path)):
        with pytest.raises(FileNotFoundError, match=r"teacher=.*there is no file .*leave the option empty"):
            create_method("promptkd", tiny_clip, classes, teacher=wrong)


def test_a_kept_teacher_alone_is_none(tiny_clip, classes, batch):
    student = create_method("promptkd", tiny_clip, classes, teacher=KEPT)
    with pytest.raises(ValueError, match="stands for one that comes with an adapter; name one"):
        student(batch[0])


def test_damaged_teachers_are_refused(tiny_clip, classes, folder):
    state = create_method("promptkd", tiny_clip, classes, teacher=folder).learnt_state()
    for name, value, message in (
        ("teacher.features", state["teacher.features"][:, :-1], "teacher.features has shape"),
        ("teacher.features", state["teacher.features"][:-1], "teacher.features has shape"),
        ("teacher.config", state["teacher.config"][:-9], "no JSON"),
        ("teacher.classnames", torch.tensor([0xFF], dtype=torch.uint8), "no UTF-8"),
    ):
        student = create_method("promptkd", tiny_clip, classes, teacher=KEPT)
        with pytest.raises(ValueError, match=message):
            student.load_learnt_state({**state, name: value})


def test_a_training_that_starts_from_a_student_keeps_the_teacher_it_names(tiny_clip, classes, folder, tmp_path, batch):
    first = create_method("promptkd", tiny_clip, classes, teacher=folder)
    other = str(adapted(tiny_clip, classes, "vpt").save_pretrained(tmp_path / "vpt"))
    student = create_method("promptkd", tiny_clip, classes, teacher=other)
    student.load_learnt_state(first.learnt_state())
    assert student.teacher.config.method.name == "vpt"
    torch.testing.assert_close(student.feature_map.inner.weight, first.feature_map.inner.weight)


def test_an_archive_is_a_teacher_too(tiny_clip, classes, folder, tmp_path):
    import shutil

    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    student = create_method("promptkd", tiny_clip, classes, teacher=archive)
    expected = create_method("promptkd", tiny_clip, classes, teacher=folder)
    assert torch.equal(student.class_weights(), expected.class_weights())


def test_what_a_teacher_file_says_is_in_the_saved_tensors(tiny_clip, classes, folder, tmp_path):
    student = create_method("promptkd", tiny_clip, classes, teacher=folder)
    saved = load_file(student.save_pretrained(tmp_path / "student") / "learnt.safetensors")
    assert bytes(saved["teacher.config"].tolist()).decode() == (tmp_path / "teacher/adapter_config.json").read_text()
    assert F.normalize(saved["teacher.features"], dim=-1).shape == (5, 32)


def test_a_prepared_teacher_comes_with_what_it_has_seen(tiny_clip, classes, batch):
    teacher = create_method("prolip", tiny_clip, classes)
    teacher.prepare(Support(teacher.consume(batch[0]), batch[1]))
    student = create_method("promptkd", tiny_clip, classes)
    student.take_teacher(teacher)
    with torch.no_grad():
        torch.testing.assert_close(student.teacher.logits(batch[0]), teacher.eval()(batch[0]))
