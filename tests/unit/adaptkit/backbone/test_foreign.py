"""Backbones of others: what their config may say, and that none of their code runs."""

import json

import pytest
import torch

import adaptkit
from adaptkit.artefacts.config import ArtefactError
from adaptkit.backbone.foreign_config import ForeignConfigError
from adaptkit.backbone.loading import load_backbone
from tests.helpers.planted import MODEL, Plant, hub_cache, plant_tokenizer, write_backbone


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path)


@pytest.fixture
def cached_hub(monkeypatch, tmp_path):
    """The hub's cache, without a network."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_plain_folder_and_a_cached_repository_give_the_same_backbone(tmp_path, cached_hub):
    folder = write_backbone(tmp_path / "backbone", text_cfg={"tokenizer_kwargs": {"clean": "lower"}})
    hub_cache(cached_hub, folder, "someone/clip")
    local, hub = load_backbone(f"local-dir:{folder}"), load_backbone("hf-hub:someone/clip", cached_only=True)
    assert local.weights_hash == hub.weights_hash
    assert torch.equal(local.encode_text(["a cat"]), hub.encode_text(["a cat"]))


def test_a_checkpoint_takes_the_place_of_weights_that_a_folder_lacks(tmp_path):
    folder = write_backbone(tmp_path / "backbone")
    weights = (folder / "open_clip_model.safetensors").rename(tmp_path / "mine.safetensors")
    with pytest.raises(FileNotFoundError, match="has no file of weights"):
        load_backbone(f"local-dir:{folder}")
    assert load_backbone(f"local-dir:{folder}", checkpoint=weights).embed_dim == 16


@pytest.mark.parametrize(
    ("section", "entry"),
    [
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}),
        ("text_cfg", {"tokenizer_kwargs": {"code_revision": "main"}}),
        ("text_cfg", {"tokenizer_kwargs": {"tokenizer_name": "evil/tokenizer"}}),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}),
        ("text_cfg", {"tokenizer_kwargs": [1]}),
        ("text_cfg", {"hf_tokenizer_name": "/tmp/evil"}),
        ("text_cfg", {"hf_tokenizer_name": "../evil"}),
        ("text_cfg", {"hf_tokenizer_name": "./evil"}),
        ("text_cfg", {"hf_tokenizer_name": "https://evil.example/tokenizer"}),
        ("text_cfg", {"hf_tokenizer_name": ["evil/tokenizer"]}),
        ("text_cfg", {"hf_model_name": "local-dir:evil"}),
        ("text_cfg", {"hf_model_name": "~/evil"}),
        ("text_cfg", {"hf_model_pretrained": "evil/weights"}),
        ("text_cfg", {"trust_remote_code": True}),
        ("text_cfg", {"layers": 10**9}),
        ("text_cfg", {"vocab_size": 1e300}),
        ("text_cfg", {"act_kwargs": {"approximate": "/etc/passwd"}}),
        ("vision_cfg", {"timm_model_name": "hf-hub:evil/vit"}),
        ("vision_cfg", {"timm_model_name": "hf_hub:evil/vit"}),
        ("vision_cfg", {"timm_model_name": "local-dir:/tmp/evil"}),
        ("vision_cfg", {"timm_model_name": "no_such_architecture"}),
        ("vision_cfg", {"image_size": [32, "rm -rf"]}),
        ("vision_cfg", {"width": 10**7}),
        ("custom_text", {"a": 1}),
        ("auto_map", {"AutoModel": "evil.Model"}),
        ("multimodal_cfg", "evil/model"),
        ("vision_cfg", "evil/model"),
    ],
)  # fmt: skip
def test_an_entry_that_a_model_does_not_need_is_refused_by_name(tmp_path, section, entry, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_backbone(tmp_path / "backbone", **{section: entry})
    with pytest.raises(ForeignConfigError, match=f"model_cfg.{section}") as refused:
        load_backbone(f"local-dir:{folder}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"model_cfg": []}', '{"model_cfg": {}}', "\xff"])
def test_what_is_no_config_is_one_error_that_names_the_file(tmp_path, content):
    folder = write_backbone(tmp_path / "backbone")
    (folder / "open_clip_config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"open_clip_config\.json"):
        load_backbone(f"local-dir:{folder}")


def test_every_config_of_open_clip_itself_is_accepted():
    import open_clip

    from adaptkit.backbone.foreign_config import check_model_config

    for name in open_clip.list_models():
        check_model_config(open_clip.get_model_config(name), name)


@pytest.mark.parametrize("asks", [{}, {"tokenizer_kwargs": {"trust_remote_code": True}}])
@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_tokenizer_with_code_of_its_own_is_not_run(tmp_path, plant, cached_hub, asks, where):
    folder = write_backbone(tmp_path / "backbone", text_cfg={"hf_tokenizer_name": "someone/clip", **asks})
    plant_tokenizer(folder, plant)
    hub_cache(cached_hub, folder, "someone/clip")
    with pytest.raises(ForeignConfigError):
        load_backbone(f"local-dir:{folder}" if where == "folder" else "hf-hub:someone/clip")
    assert not plant.ran


def test_a_text_tower_with_code_of_its_own_is_not_run(tmp_path, plant, cached_hub):
    folder = write_backbone(tmp_path / "backbone", text_cfg={"hf_model_name": "someone/clip"})
    plant_tokenizer(folder, plant)
    hub_cache(cached_hub, folder, "someone/clip")
    with pytest.raises(ForeignConfigError, match="no code is run"):
        load_backbone("hf-hub:someone/clip")
    assert not plant.ran


def test_pickled_code_in_the_weights_is_not_run(tmp_path, plant):
    folder = write_backbone(tmp_path / "backbone")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"logit_scale": torch.ones(()), "extra": plant}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"open_clip_pytorch_model\.bin"):
        load_backbone(f"local-dir:{folder}")
    assert not plant.ran


def renamed(adapter, **source):
    """Change the backbone that an adapter names."""
    path = adapter / "adapter_config.json"
    content = json.loads(path.read_text())
    content["backbone"]["source"] |= source
    path.write_text(json.dumps(content))
    return adapter


@pytest.fixture
def adapter(tmp_path):
    backbone = load_backbone(f"local-dir:{write_backbone(tmp_path / 'theirs')}")
    return adaptkit.create_method("zero_shot", backbone, ["cat", "dog"]).save_pretrained(tmp_path / "adapter")


def test_an_adapter_may_not_name_a_folder_as_its_backbone(tmp_path, adapter, plant):
    plant_tokenizer(write_backbone(tmp_path / "theirs", text_cfg={"hf_tokenizer_name": "x"}), plant)
    with pytest.raises(ArtefactError, match="folders are not opened on a file's word"):
        adaptkit.load(adapter)
    assert not plant.ran


def test_an_adapter_on_a_folder_loads_with_the_backbone_that_its_user_gives(tmp_path, adapter):
    assert adaptkit.load(adapter, load_backbone(f"local-dir:{tmp_path / 'theirs'}")).classes.classnames == (
        "cat",
        "dog",
    )


def test_an_adapter_fetches_a_hub_backbone_with_consent_alone(tmp_path, adapter, monkeypatch, cached_hub):
    import huggingface_hub

    asked = []

    def fetch(repository, filename, **options):
        asked.append((repository, options["local_files_only"]))
        raise huggingface_hub.errors.LocalEntryNotFoundError("nothing cached")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    renamed(adapter, name="hf-hub:evil/clip")
    with pytest.raises(ArtefactError, match="--trust-hub"):
        adaptkit.load(adapter)
    assert asked == [("evil/clip", True)]  # The cache alone was looked at.
    with pytest.raises(FileNotFoundError):
        adaptkit.load(adapter, trust_hub=True)
    assert asked[-1] == ("evil/clip", False)


def test_a_hub_backbone_that_was_fetched_before_is_taken_and_checked_by_its_hash(tmp_path, adapter, cached_hub):
    hub_cache(cached_hub, tmp_path / "theirs", "someone/clip")
    assert len(adaptkit.load(renamed(adapter, name="hf-hub:someone/clip")).classes) == 2
    torch.manual_seed(5)
    hub_cache(cached_hub, write_backbone(tmp_path / "others"), "other/clip")
    with pytest.raises(ArtefactError, match="was learnt on hf-hub:other/clip with weights"):
        adaptkit.load(renamed(adapter, name="hf-hub:other/clip"))


def test_a_hub_backbone_of_an_adapter_runs_no_code_even_with_consent(tmp_path, adapter, plant, cached_hub):
    evil = write_backbone(
        tmp_path / "evil",
        text_cfg={"hf_tokenizer_name": "evil/clip", "tokenizer_kwargs": {"trust_remote_code": True}},
    )
    plant_tokenizer(evil, plant)
    hub_cache(cached_hub, evil, "evil/clip")
    with pytest.raises(ForeignConfigError):
        adaptkit.load(renamed(adapter, name="hf-hub:evil/clip"), trust_hub=True)
    assert not plant.ran


@pytest.mark.parametrize("dtype", ["hub", "load", "nonsense", ""])
def test_the_dtype_of_an_adapter_is_a_dtype_and_no_name_of_torch(adapter, dtype):
    path = adapter / "adapter_config.json"
    content = json.loads(path.read_text())
    content["backbone"]["source"]["name"], content["backbone"]["dtype"] = "adaptkit-mini", dtype
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="float32"):
        adaptkit.load(adapter)


def test_the_planted_code_would_leave_its_mark(tmp_path, plant):
    exec(plant.code)
    assert plant.ran
    assert MODEL["embed_dim"] == 16
