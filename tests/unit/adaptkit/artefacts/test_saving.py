"""Saved methods: what is written, where it is read from, and one clear error for each way in which it can be wrong."""

import json
import stat
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

import adaptkit
from adaptkit import ArtefactError, Metric, TrainingFacts, create_method, register_wrapper
from adaptkit.artefacts.files import CARD_FILE, CONFIG_FILE, TENSORS_FILE
from adaptkit.contract.registry import WRAPPERS
from tests.conftest import CLASSES
from tests.helpers.golden import tiny_backbone
from tests.helpers.models import build
from tests.helpers.planted import hub_cache
from tests.unit.adaptkit.contract.test_wrapper import Shift, ShiftConfig


@pytest.fixture
def adapter(tiny_clip, tmp_path):
    """A saved CoOp in a folder."""
    return create_method("coop", tiny_clip, CLASSES, n_ctx=2).save_pretrained(tmp_path / "adapter")


def change_config(adapter: Path, **changes: object) -> None:
    content = json.loads((adapter / CONFIG_FILE).read_text())
    (adapter / CONFIG_FILE).write_text(json.dumps(content | changes))


def change_tensors(adapter: Path, tensors: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(tensors, adapter / TENSORS_FILE)


def zipped(adapter: Path, inside: str = "") -> Path:
    path = adapter.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in adapter.iterdir():
            archive.write(file, inside + file.name)
    return path


def refusal(place: Path, backbone: adaptkit.FrozenCLIP) -> str:
    with pytest.raises((ArtefactError, FileNotFoundError)) as error:
        adaptkit.load(place, backbone)
    return str(error.value)


def test_options_templates_and_classes_come_back(tiny_clip, tmp_path):
    method = create_method("vpt", tiny_clip, CLASSES, templates=["art of a {}."], fixed_templates=("a {}.", "the {}."))
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert loaded.spec == method.spec
    assert loaded.classes == method.classes
    assert not loaded.training


def test_wrappers_come_back_with_their_options_and_tensors(tiny_clip, tmp_path, batch, monkeypatch):
    monkeypatch.setattr(WRAPPERS, "_entries", {})
    register_wrapper("shift", ShiftConfig)(Shift)
    wrap = (("shift", ShiftConfig(2.0)), ("shift", ShiftConfig(1.0)))
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=2, wrap=wrap).eval()
    method.inner.shift.data.fill_(0.5)
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert loaded.spec == method.spec
    assert loaded.spec.wrappers == wrap
    assert torch.equal(loaded(batch[0]), method(batch[0]))


def test_loading_does_not_move_the_random_generator(adapter, tiny_clip):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    adaptkit.load(adapter, tiny_clip)
    assert torch.equal(torch.rand(1), expected)


def test_a_zip_of_the_folder_or_of_its_files_is_loaded(adapter, tiny_clip, batch):
    expected = adaptkit.load(adapter, tiny_clip)(batch[0])
    for inside in ("", "adapter/"):
        assert torch.equal(adaptkit.load(zipped(adapter, inside), tiny_clip)(batch[0]), expected)


def test_the_embedded_backbone_is_loaded_by_its_name(tmp_path):
    method = create_method("zero_shot", adaptkit.load_backbone("adaptkit-mini"), CLASSES)
    assert adaptkit.load(method.save_pretrained(tmp_path)).backbone.name == "adaptkit-mini"


def test_the_dtype_of_a_backbone_is_loaded_too(tmp_path):
    backbone = adaptkit.load_backbone("ViT-S-32-alt", pretrained="random", dtype=torch.bfloat16)
    method = create_method("coop", backbone, CLASSES, n_ctx=2)
    assert adaptkit.load(method.save_pretrained(tmp_path)).backbone.dtype == torch.bfloat16


def test_a_backbone_from_a_file_has_to_be_given(tiny_clip, tmp_path):
    backbone = build("clip_vit")
    backbone.source = adaptkit.backbone.weights_source.WeightsSource("ViT-B-16", checkpoint="mine.pt")
    folder = create_method("coop", backbone, CLASSES).save_pretrained(tmp_path)
    with pytest.raises(ArtefactError, match=r"mine\.pt; give your copy of them as checkpoint"):
        adaptkit.load(folder)
    assert adaptkit.load(folder, tiny_clip).backbone is tiny_clip, "the weights count, not their name"


def test_a_backbone_from_a_file_may_be_given_as_the_file(golden_folder, tmp_path):
    backbone = tiny_backbone("vit", golden_folder)
    folder = create_method("coop", backbone, CLASSES).save_pretrained(tmp_path)
    assert adaptkit.load(folder, checkpoint=golden_folder / "vit.safetensors").backbone.source == backbone.source
    with pytest.raises(ValueError, match="leave checkpoint="):
        adaptkit.load(folder, backbone, checkpoint=golden_folder / "vit.safetensors")


def test_another_backbone_is_refused(adapter):
    message = refusal(adapter, adaptkit.load_backbone("adaptkit-mini"))
    assert "was learnt on clip_vit and the backbone is adaptkit-mini" in message


def test_changed_weights_are_refused(adapter):
    changed = build("clip_vit")
    with torch.no_grad():
        changed.model.visual.conv1.weight[0, 0, 0, 0] += 1e-3
    assert "the weights of clip_vit are" in refusal(adapter, changed)
    assert "they are float64, and it learnt on float32" in refusal(adapter, build("clip_vit", torch.float64))


def test_an_unknown_method_is_refused(adapter, tiny_clip):
    change_config(adapter, method={"name": "zork", "options": {}})
    assert "needs the method 'zork', which is none here" in refusal(adapter, tiny_clip)


def test_an_unknown_wrapper_is_refused(adapter, tiny_clip):
    change_config(adapter, wrappers=[{"name": "zork", "options": {}}])
    assert "needs the wrapper 'zork', which is none here" in refusal(adapter, tiny_clip)


def test_a_later_format_is_refused(adapter, tiny_clip):
    change_config(adapter, format_version=99)
    assert "format version 99 and this adaptkit reads up to 3" in refusal(adapter, tiny_clip)


def test_an_unknown_option_is_refused(adapter, tiny_clip):
    change_config(adapter, method={"name": "coop", "options": {"n_ctx": 2, "later": True}})
    assert "'later', which is no option of coop" in refusal(adapter, tiny_clip)


@pytest.mark.parametrize("value", [True, "2", 2.5, -1])
def test_an_option_that_cannot_be_is_refused(adapter, tiny_clip, value):
    change_config(adapter, method={"name": "coop", "options": {"n_ctx": value}})
    assert "options that coop refuses" in refusal(adapter, tiny_clip)


def test_an_option_that_was_added_since_has_its_default(adapter, tiny_clip):
    change_config(adapter, method={"name": "coop", "options": {"n_ctx": 2}})
    assert adaptkit.load(adapter, tiny_clip).spec.config.class_token_position == "end"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"peft_type": "LORA"}', '{"format": "adaptkit-adapter"}'])
def test_a_config_that_is_none_is_refused(adapter, tiny_clip, content):
    (adapter / CONFIG_FILE).write_text(content)
    assert str(adapter) in refusal(adapter, tiny_clip)


@pytest.mark.parametrize("key", ["method", "wrappers", "backbone", "classnames", "templates", "tensors_sha256"])
def test_a_config_with_an_entry_of_another_type_is_damaged(adapter, tiny_clip, key):
    change_config(adapter, **{key: 7})
    assert "damaged" in refusal(adapter, tiny_clip)


def test_missing_and_unknown_tensors_are_refused(adapter, tiny_clip):
    change_tensors(adapter, {"ctx": torch.zeros(2, 64)})
    assert "1 missing (context.ctx); 1 unknown (ctx)" in refusal(adapter, tiny_clip)


def test_a_tensor_of_another_shape_is_refused(adapter, tiny_clip):
    change_tensors(adapter, {"context.ctx": torch.zeros(3, 64)})
    assert "(3, 64); expected (2, 64)" in refusal(adapter, tiny_clip)


def test_a_tensor_that_is_not_finite_is_neither_loaded_nor_saved(adapter, tiny_clip, tmp_path):
    change_tensors(adapter, {"context.ctx": torch.full((2, 64), torch.nan)})
    assert "context.ctx" in refusal(adapter, tiny_clip)
    method = create_method("coop", tiny_clip, CLASSES)
    method.context.ctx.data[0, 0] = torch.inf
    with pytest.raises(ArtefactError, match="nothing was saved"):
        method.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_tensors_of_another_saving_are_refused(adapter, tiny_clip):
    change_tensors(adapter, {"context.ctx": torch.zeros(2, 64)})
    assert "is not the one that was saved with" in refusal(adapter, tiny_clip)


def test_a_damaged_tensors_file_is_refused(adapter, tiny_clip):
    (adapter / TENSORS_FILE).write_bytes(b"\x80\x04cos\nsystem\n")
    assert "no readable safetensors file" in refusal(adapter, tiny_clip)


def test_a_place_with_nothing_of_the_kind_says_what_an_adapter_is(tiny_clip, tmp_path):
    assert "no adapter at" in refusal(tmp_path / "none", tiny_clip)
    assert f"has no {CONFIG_FILE}" in refusal(tmp_path, tiny_clip)
    (tmp_path / "file").write_text("text")
    assert "neither a folder nor a zip archive" in refusal(tmp_path / "file", tiny_clip)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_an_archive_with_paths_that_lead_out_is_refused(adapter, tiny_clip, name):
    path = zipped(adapter)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), "evil")
    assert "leads out of the archive" in refusal(path, tiny_clip)


def test_an_archive_with_a_link_is_refused(adapter, tiny_clip):
    path, link = zipped(adapter), zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in refusal(path, tiny_clip)


def test_an_archive_with_two_adapters_is_refused(adapter, tiny_clip):
    path = zipped(adapter)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(adapter / CONFIG_FILE, "other/" + CONFIG_FILE)
    assert "more than one" in refusal(path, tiny_clip)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(adapter, tiny_clip):
    path = adapter.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(adapter / CONFIG_FILE, CONFIG_FILE)
        with archive.open(TENSORS_FILE, "w") as file:
            for _ in range(65):
                file.write(bytes(2**20))
    assert "as zip bombs do" in refusal(path, tiny_clip)


def test_a_config_that_is_far_too_large_is_refused(adapter, tiny_clip):
    with (adapter / CONFIG_FILE).open("r+b") as file:
        file.truncate(2**27)
    assert "at most" in refusal(adapter, tiny_clip)


def test_a_truncated_archive_is_refused(adapter, tiny_clip):
    path = zipped(adapter)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + whole[whole.index(b"PK\x01\x02") :])
    assert "not a readable zip archive" in refusal(path, tiny_clip)


def test_a_method_that_was_made_by_hand_says_how_to_make_it(tiny_clip, tmp_path):
    kind, config = adaptkit.method_class("coop"), adaptkit.method_config("coop")()
    with pytest.raises(ArtefactError, match="create_method"):
        kind(tiny_clip, adaptkit.ClassSet(CLASSES), config).save_pretrained(tmp_path)


def test_saving_again_takes_the_place_of_the_first(adapter, tiny_clip):
    create_method("coop", tiny_clip, ["one", "two"], n_ctx=3).save_pretrained(adapter)
    assert adaptkit.load(adapter, tiny_clip).classes.classnames == ("one", "two")
    assert sorted(path.name for path in adapter.iterdir()) == sorted([CARD_FILE, CONFIG_FILE, TENSORS_FILE])


def test_the_card_tells_the_hub_and_people_what_it_is(tiny_clip, tmp_path):
    method = create_method("tip_adapter", tiny_clip, CLASSES)
    metrics = (Metric("all", 61.234, 100, 5),)
    facts = TrainingFacts("dtd", 16, metrics, protocol="few_shot", seed=1, licence="mit", notes=("a note",))
    text = (method.save_pretrained(tmp_path, facts) / CARD_FILE).read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "mit"
    assert front["base_model"] == "clip_vit"
    assert front["pipeline_tag"] == "image-classification", "it is bound to its classes"
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == 61.23
    for expected in (
        "golden retriever",
        "16 images per class",
        "| all | 61.23 | 100 | 5 |",
        "- a note",
        "adaptkit.load(",
    ):
        assert expected in text


def test_the_hub_name_of_published_weights_is_the_base_model(tiny_clip, tmp_path):
    backbone = build("clip_vit")
    backbone.source = adaptkit.backbone.weights_source.WeightsSource("ViT-B-16", pretrained="openai")
    text = (create_method("coop", backbone, CLASSES).save_pretrained(tmp_path) / CARD_FILE).read_text()
    assert yaml.safe_load(text.split("---")[1])["base_model"] == "timm/vit_base_patch16_clip_224.openai"


@pytest.fixture
def offline_hub(monkeypatch, tmp_path):
    """The hub's client without a network, and its cache."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_hub_name_is_read_from_the_cache_when_offline(adapter, tiny_clip, offline_hub):
    hub_cache(offline_hub, adapter, "someone/dogs")
    assert adaptkit.load("hf-hub:someone/dogs", tiny_clip).classes.classnames == CLASSES
    assert adaptkit.load("hf-hub:someone/dogs@main", tiny_clip).classes.classnames == CLASSES


def test_a_hub_name_that_is_not_cached_says_so(tiny_clip, offline_hub):
    with pytest.raises(FileNotFoundError, match="not in the hub's cache and the hub cannot be reached"):
        adaptkit.load("hf-hub:someone/cats", tiny_clip)
    with pytest.raises(ArtefactError, match="no name of a hub repository"):
        adaptkit.load("hf-hub:a/b/c/d", tiny_clip)


def test_a_method_is_pushed_with_its_card(tiny_clip, monkeypatch):
    calls: dict[str, dict] = {}

    class Hub:
        def create_repo(self, repository, **options):
            calls["create"] = {"repository": repository, **options}

        def upload_folder(self, *, folder_path, **options):
            files = {path.name for path in Path(folder_path).iterdir()}
            calls["upload"] = {"files": files, **options}
            return "https://hub/commit"

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    address = create_method("coop", tiny_clip, CLASSES).push_to_hub("someone/dogs", private=True)
    assert address == "https://hub/commit"
    assert calls["create"] == {"repository": "someone/dogs", "private": True, "exist_ok": True}
    assert calls["upload"]["files"] == {CARD_FILE, CONFIG_FILE, TENSORS_FILE}
