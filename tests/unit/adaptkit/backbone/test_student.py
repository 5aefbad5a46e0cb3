"""Students as backbones: what they share with their teacher, how they are saved, and which files are refused."""

import json

import pytest
import torch
from open_clip.timm_model import TimmModel

import adaptkit
from adaptkit.artefacts.students import save_student
from adaptkit.backbone.foreign_model import is_student
from adaptkit.backbone.named_in_file import UntrustedBackboneError
from adaptkit.backbone.student import as_student, load_student
from adaptkit.backbone.student_tower import StudentPlan, StudentTower, plan_for
from adaptkit.backbone.weights_source import WeightsSource
from adaptkit.regular_file import FileError

IMAGES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def teacher():
    return adaptkit.load_backbone("adaptkit-mini")


@pytest.fixture(scope="module")
def student(teacher):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return as_student(teacher, StudentTower(plan_for(teacher, "test_vit")))


@pytest.fixture
def folder(student, teacher, tmp_path):
    return save_student(student, teacher, tmp_path / "student", ["corgi"], ["a note"])


def edited(folder, **entries):
    path = folder / "student.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **entries}))
    return folder


def test_a_student_has_its_own_images_and_its_teachers_texts(student, teacher):
    assert torch.equal(student.encode_text(["a cat"]), teacher.encode_text(["a cat"]))
    assert student.encode_image(IMAGES).shape == (2, 128)
    assert not torch.equal(student.encode_image(IMAGES), teacher.encode_image(IMAGES))
    assert student.model.text_projection is teacher.model.text_projection
    assert not any(parameter.requires_grad for parameter in student.parameters())
    assert teacher.model.visual is not student.model.visual


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "test_convnext"])
def test_models_of_every_kind_end_in_the_joint_width(teacher, name):
    tower = StudentTower(plan_for(teacher, name))
    assert as_student(teacher, tower).encode_image(IMAGES).shape == (2, 128)


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_saved_student_loads_as_a_backbone(student, folder, prefix):
    loaded = adaptkit.load_backbone(f"{prefix}{folder}")
    assert torch.equal(loaded.encode_image(IMAGES), student.encode_image(IMAGES))
    assert torch.equal(loaded.encode_text(["a cat"]), student.encode_text(["a cat"]))
    assert loaded.weights_hash == student.weights_hash
    assert loaded.preprocess_cfg == student.preprocess_cfg
    assert loaded.source == WeightsSource(f"local-dir:{folder}")


@pytest.mark.parametrize(
    "name", ["zero_shot", "classify_by_description", "tip_adapter", "coop", "taskres", "clip_lora"]
)
def test_methods_work_on_a_student(student, name):
    method = adaptkit.create_method(name, student, ["cat", "dog"])
    if "prepare" in method.provides:
        method.prepare(adaptkit.Support(method.consume(IMAGES), torch.tensor([0, 1])))
    assert method(IMAGES).shape == (2, 2)


def test_cased_names_images_by_a_student(student):
    head = adaptkit.create_head("cased", student, min_count=1)
    assert len(head.names(student.encode_image(IMAGES))) == 2


def test_a_student_takes_images_of_another_size(folder):
    larger = adaptkit.load_backbone(str(folder), image_size=64)
    assert larger.preprocess_cfg.image_size == (64, 64)
    assert larger.encode_image(torch.randn(1, 3, 64, 64)).shape == (1, 128)


def test_an_adapter_on_a_student_remembers_it(student, folder, tmp_path):
    loaded = adaptkit.load_backbone(str(folder))
    place = adaptkit.create_method("taskres", loaded, ["cat", "dog"]).save_pretrained(tmp_path / "adapter")
    assert adaptkit.load(place, loaded).backbone is loaded
    with pytest.raises(adaptkit.ArtefactError, match="folders are not opened on a file's word"):
        adaptkit.load(place)


def test_a_student_of_another_width_is_refused(teacher):
    tower = TimmModel("test_vit", 64, 160, pool="token", proj="linear")
    with pytest.raises(ValueError, match=r"features have 64 numbers and the texts of adaptkit-mini 128"):
        as_student(teacher, tower)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"timm_name": "resnet81"}, "near it are resnet18"),
        ({"timm_name": "hf-hub:someone/evil"}, "timm has no model"),
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": 99999}, "image_size=99999"),
        ({"embed_dim": -1}, "embed_dim=-1"),
        ({"std": (0.0, 1.0, 1.0)}, "expected deviations above 0"),
        ({"resize_mode": "fold"}, "resize_mode='fold'"),
    ],
)
def test_plans_that_make_no_tower_are_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        StudentPlan(**{"timm_name": "test_vit", "image_size": 48, "embed_dim": 8, **values})


def test_a_size_that_the_model_cannot_have_is_refused():
    with pytest.raises(ValueError, match="no image tower for images of 8 pixels"):
        StudentTower(StudentPlan("test_vit", 8, 16))


def test_timm_models_without_published_weights_cannot_start_from_them(teacher):
    with pytest.raises(ValueError, match="no published weights of botnet50ts_256"):
        plan_for(teacher, "botnet50ts_256", pretrained=True)
    assert plan_for(teacher, "test_vit").mean == (0.485, 0.456, 0.406)
    assert plan_for(teacher, "test_vit", pretrained=True).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"format": "other"}, "describes no student"),
        ({"format_version": 2}, "upgrade adaptkit"),
        ({"plan": {"timm_name": "test_vit"}}, "is damaged"),
        ({"plan": None}, "is damaged"),
        ({"teacher_sha256": 5}, "is damaged"),
        ({"code": "x"}, "is damaged"),
        ({"tensors_sha256": "0"}, "was altered or damaged"),
    ],
)
def test_damaged_descriptions_are_refused(folder, entries, complaint):
    with pytest.raises(FileError, match=complaint):
        adaptkit.load_backbone(str(edited(folder, **entries)))


def test_altered_tensors_and_those_of_another_model_are_refused(folder, teacher, tmp_path):
    plan = json.loads((folder / "student.json").read_text())["plan"]
    with pytest.raises(FileError, match=r"missing, unknown or of another shape for timm's test_resnet"):
        adaptkit.load_backbone(str(edited(folder, plan={**plan, "timm_name": "test_resnet"})))
    (folder / "student.safetensors").write_bytes(b"nothing")
    with pytest.raises(FileError, match="was altered or damaged"):
        adaptkit.load_backbone(str(folder))
    (folder / "student.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="tensors of a student"):
        adaptkit.load_backbone(str(folder))


def test_a_teacher_with_other_weights_is_refused(folder, tiny_clip):
    with pytest.raises(ValueError, match="load it with its own teacher"):
        load_student(folder, tiny_clip)


def test_a_teacher_in_a_folder_is_not_opened_on_a_files_word(folder, teacher):
    source = {"name": "local-dir:/tmp/evil", "pretrained": None, "checkpoint": None, "image_size": None}
    with pytest.raises(UntrustedBackboneError, match="load its teacher and give it"):
        adaptkit.load_backbone(str(edited(folder, teacher=source)))
    assert load_student(folder, teacher).embed_dim == 128


def test_a_teacher_from_a_file_of_weights_needs_the_file(folder):
    source = {"name": "ViT-B-16", "pretrained": None, "checkpoint": "mine.pt", "image_size": None}
    with pytest.raises(ValueError, match="give your copy of that file as checkpoint"):
        adaptkit.load_backbone(str(edited(folder, teacher=source)))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"pretrained": "openai"}, "leave out pretrained='openai'"),
        ({"tokenizer": "folder"}, "leave out tokenizer='folder'"),
        ({"dtype": torch.float16}, "is a student, which is float32"),
    ],
)
def test_arguments_that_a_student_cannot_take_are_refused(folder, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        adaptkit.load_backbone(str(folder), **arguments)


def test_only_towers_with_a_plan_are_saved(teacher, tmp_path):
    with pytest.raises(ValueError, match="VisionTransformer, and a student's file holds a StudentTower"):
        save_student(teacher, teacher, tmp_path / "student")


def test_a_student_is_not_written_over_a_file(student, teacher, tmp_path):
    (tmp_path / "student").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        save_student(student, teacher, tmp_path / "student")


def test_a_folder_without_a_description_is_no_student(tmp_path, folder):
    assert is_student(str(folder))
    for name in (str(tmp_path), "ViT-B-16", "a\0b", "x" * 5000, "~nobody_of_that_name/x", ""):
        assert not is_student(name)
