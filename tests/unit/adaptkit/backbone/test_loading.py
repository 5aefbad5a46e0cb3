"""Backbones by name and file, and one clear error for each thing that does not fit."""

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from adaptkit import list_backbones, list_pretrained, load_backbone
from tests.helpers.golden import tiny_state

SMALL = "ViT-S-32-alt"  # the smallest of open_clip's own CLIP models


@pytest.fixture(scope="module")
def small_state():
    torch.manual_seed(1)
    return open_clip.create_model(SMALL, load_weights=False).state_dict()


def test_names_and_tags_are_listed():
    assert "adaptkit-mini" in list_backbones()
    assert set(list_backbones("RN50*")) >= {"RN50", "RN50-quickgelu"}
    assert "openai" in list_pretrained("ViT-B-16")
    assert list_pretrained("adaptkit-mini") == []


def test_random_weights_are_seeded_and_leave_the_global_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second = (load_backbone(SMALL, "random") for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert first.weights_hash == second.weights_hash
    assert first.name == SMALL


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_local_files_load_into_the_named_model(tmp_path, small_state, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": {f"module.{name}": value for name, value in small_state.items()}}, path)
    else:
        save_file(small_state, path)
    backbone = load_backbone(SMALL, checkpoint=path)
    assert torch.equal(backbone.model.visual.conv1.weight, small_state["visual.conv1.weight"])
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_openai_files_bring_quick_gelu(tmp_path, small_state):
    marks = {
        "input_resolution": torch.tensor(224),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    save_file(small_state | marks, tmp_path / "openai.safetensors")
    save_file(small_state, tmp_path / "other.safetensors")
    openai = load_backbone(SMALL, checkpoint=tmp_path / "openai.safetensors")
    other = load_backbone(SMALL, checkpoint=tmp_path / "other.safetensors")
    assert any(isinstance(module, QuickGELU) for module in openai.modules())
    assert not any(isinstance(module, QuickGELU) for module in other.modules())


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_the_architecture_is_read_off_an_openai_file(tmp_path, kind):
    save_file(tiny_state(kind), tmp_path / "tiny.safetensors")
    backbone = load_backbone("auto", checkpoint=tmp_path / "tiny.safetensors")
    assert backbone.embed_dim == 32
    assert backbone.preprocess_cfg.image_size == (64, 64)
    assert backbone.has_vit_blocks == (kind == "vit")


def test_an_openai_torchscript_archive_is_read(tmp_path):
    state = tiny_state("vit")

    class Archive(torch.nn.Module):
        input_resolution: int
        context_length: int
        vocab_size: int

        def __init__(self):
            super().__init__()
            self.input_resolution, self.context_length, self.vocab_size = 64, 77, 49408
            for name, value in state.items():
                if value.ndim:
                    module = self
                    *parents, leaf = name.split(".")
                    for parent in parents:
                        if not hasattr(module, parent):
                            module.add_module(parent, torch.nn.Module())
                        module = getattr(module, parent)
                    module.register_parameter(leaf, torch.nn.Parameter(value))
            self.logit_scale = torch.nn.Parameter(state["logit_scale"])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.input_resolution * self.context_length * self.vocab_size

    torch.jit.script(Archive()).save(str(tmp_path / "tiny.pt"))
    save_file(state, tmp_path / "tiny.safetensors")
    from_archive, from_tensors = (
        load_backbone("auto", checkpoint=tmp_path / f"tiny{suffix}") for suffix in (".pt", ".safetensors")
    )
    assert from_archive.weights_hash == from_tensors.weights_hash


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ViT-B-61", {"pretrained": "openai"}, "nearest names: ViT-B-16"),
        ("ViT-B-16", {"pretrained": "openia"}, "nearest tags: openai"),
        ("ViT-B-16", {}, "name the weights of ViT-B-16"),
        ("ViT-B-16", {"pretrained": "openai", "checkpoint": "x.pt"}, "either pretrained"),
        ("adaptkit-mini", {"pretrained": "openai"}, "brings its own weights"),
        ("ViT-B-32-quickgelu", {"pretrained": "laion2b_s34b_b79k"}, "use ViT-B-32$"),
        ("ViT-B-16", {"pretrained": "random", "dtype": torch.int8}, "dtype torch.int8"),
    ],
)
def test_wrong_names_are_one_clear_error(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_backbone(name, **options)


def test_a_checkpoint_that_does_not_fit_says_what(tmp_path, small_state):
    path = tmp_path / "weights.safetensors"
    broken = dict(small_state)
    broken["visual.proj"] = broken["visual.proj"][:, :7].contiguous()
    broken["extra.weight"] = torch.zeros(1)
    del broken["ln_final.bias"]
    save_file(broken, path)
    with pytest.raises(ValueError, match=f"does not fit {SMALL}") as error:
        load_backbone(SMALL, checkpoint=path)
    for part in ("1 missing (ln_final.bias)", "1 unknown (extra.weight)", "1 of another shape (visual.proj"):
        assert part in str(error.value)


def test_auto_needs_openai_s_format(tmp_path, small_state):
    save_file(small_state, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="name its architecture"):
        load_backbone("auto", checkpoint=tmp_path / "weights.safetensors")


def test_other_precisions_load(tmp_path):
    double = load_backbone(SMALL, "random", dtype=torch.float64)
    half = load_backbone(SMALL, "random", dtype=torch.bfloat16)
    assert double.dtype == torch.float64
    assert half.dtype == torch.bfloat16
    with torch.no_grad():
        exact = double.encode_text(["a photo of a cat"])
        rough = half.encode_text(["a photo of a cat"])
    assert torch.nn.functional.cosine_similarity(exact.float(), rough.float()).item() > 0.99
