"""Checkpoints in the formats of the released code: the recorded tensors come in, the recorded logits come out."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

import adaptkit
from adaptkit import ClassSet, import_official
from adaptkit.backbone.torch_files import read_torch_file
from adaptkit.inert_pickle import Inert
from tests.helpers.golden import Golden, batch, tiny_backbone, tiny_state, variants
from trainers.cli import main


class Warmup(torch.optim.lr_scheduler.LRScheduler):
    """A scheduler like Dassl's, which holds another one and so is pickled by its class's name."""

    def __init__(self, optimizer, successor):
        self.successor = successor
        super().__init__(optimizer)

    def get_lr(self):
        return [1e-5 for _ in self.base_lrs]


def save_as_dassl(tensors, path):
    """What `TrainerBase.save_model` writes: weights, epoch, optimiser, scheduler with its successor, last result."""
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.SGD(parameters, lr=0.002, momentum=0.9)
    parameters[0].grad = torch.ones(2)
    optimizer.step()
    schedule = Warmup(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50))
    content = {
        "state_dict": tensors,
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": {key: value for key, value in schedule.__dict__.items() if key != "optimizer"},
        "val_result": np.float64(91.5),
    }
    torch.save(content, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)  # so this is a file that needs the inert reader
    return path


def class_bound(prefix, n_ctx, n_classes, width):
    return {
        f"{prefix}token_prefix": torch.randn(n_classes, 1, width),
        f"{prefix}token_suffix": torch.randn(n_classes, 76 - n_ctx, width),
    }


def recorded(golden, step):
    mark = f"{step}/"
    return {
        name.removeprefix(mark): t for name, t in golden.tensors.items() if name.startswith(mark) and "loss" not in name
    }


def whole_model(kind):
    """CLIP's own tensors under the names of the released wrappers."""
    state = tiny_state(kind)
    visual = {
        f"image_encoder.{name.removeprefix('visual.')}": t for name, t in state.items() if name.startswith("visual.")
    }
    text = {f"text_encoder.{name}": t for name, t in state.items() if name.startswith(("transformer.", "ln_final."))}
    return {**visual, **text, "logit_scale": state["logit_scale"]}


@pytest.mark.parametrize("variant", ["vit_nctx4_end", "vit_nctx4_end_csc", "vit_ctxinit_middle", "rn_ctxinit_front"])
def test_coop(variant, golden_folder, tmp_path):
    golden = Golden("coop", variant)
    settings, backbone = golden.settings, tiny_backbone(golden.settings["clip"], golden_folder)
    ctx = golden["init/ctx"]
    tensors = {"ctx": ctx, **class_bound("", 4, 6, ctx.shape[-1])}
    path = save_as_dassl(tensors, tmp_path / "model.pth.tar-50")
    position = settings["class_token_position"]
    method = import_official(path, backbone, settings["classes"], class_token_position=position)
    assert method.spec.name == "coop"
    golden.check("logits", method(batch(0)[0]))


def test_files_of_coops_descendants_say_what_they_are_by_name(golden_folder, tmp_path):
    golden = Golden("kgcoop", variants("kgcoop")[0])
    backbone = tiny_backbone("vit", golden_folder)
    path = save_as_dassl({"ctx": golden["init/ctx"].half()}, tmp_path / "model.pth.tar-50")
    for name in ("kgcoop", "prograd"):
        method = import_official(path, backbone, golden.settings["classes"], name)
        assert method.spec.name == name
        assert method.context.ctx.dtype == torch.float32
    with pytest.raises(ValueError, match="is a checkpoint of coop, and maple was asked for"):
        import_official(path, backbone, ["cat"], "maple")


@pytest.mark.parametrize("variant", variants("cocoop"))
def test_cocoop(variant, golden_folder, tmp_path):
    golden = Golden("cocoop", variant)
    tensors = recorded(golden, "step5")
    path = save_as_dassl(tensors | class_bound("", 4, 6, 64), tmp_path / "model.pth.tar-10")
    method = import_official(path, tiny_backbone("vit", golden_folder), golden.settings["classes"])
    first, last = (int(number) for number in golden.settings["image_slice"].split()[1].split(".."))
    golden.check("step5/logits", method(batch(0)[0][first : last + 1]))


@pytest.mark.parametrize("variant", variants("tcp"))
def test_tcp(variant, golden_folder, tmp_path):
    golden = Golden("tcp", variant)
    settings, tensors = golden.settings, recorded(golden, "step5")
    path = save_as_dassl(tensors | class_bound("", 4, 6, 64), tmp_path / "model.pth.tar-50")
    classes = ClassSet(tuple(settings["classes"]), (settings["reference_template"],))
    asked = {"template": settings["trained_template"], "insert_block": settings["insert_block"]}
    method = import_official(path, tiny_backbone("vit", golden_folder), classes, **asked)
    assert method.spec.name == "tcp"
    golden.check("eval_logits", method(batch(0)[0]))


@pytest.mark.parametrize(
    ("folder", "variant"), [("maple", v) for v in variants("maple")] + [("promptsrc", "v4t4_depth3")]
)
def test_maple_and_promptsrc(folder, variant, golden_folder, tmp_path):
    golden = Golden(folder, variant)
    tensors = recorded(golden, "step5")
    tensors |= whole_model("vit") | class_bound("prompt_learner.", 2, 6, 64)
    if folder == "promptsrc":
        tensors["prompt_learner.ZS_image_encoder.conv1.weight"] = torch.zeros(3)
    path = save_as_dassl({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "model.pth.tar-5")
    method = import_official(path, tiny_backbone("vit", golden_folder), golden.settings["classes"])
    assert method.spec.name == folder
    golden.check("step5/logits", method(batch(0)[0]))


def test_a_file_without_a_frozen_image_tower_is_ivlps(golden_folder, tmp_path):
    golden = Golden("ivlp", "v2t2_depth3")
    path = save_as_dassl(recorded(golden, "step5") | whole_model("vit"), tmp_path / "model.pth.tar-5")
    method = import_official(path, tiny_backbone("vit", golden_folder), golden.settings["classes"])
    assert method.spec.name == "ivlp"
    golden.check("step5/logits", method(batch(0)[0]))


def save_as_clip_lora(golden, path, encoder, params):
    """What `save_lora` writes: weights by layer, the text tower's first."""
    towers = {"both": ("", "visual."), "text": ("",), "vision": ("visual.",)}[encoder]
    names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "proj"}
    layers = [
        {
            names[p]: {
                f"w_lora_{m}": golden[f"init/{tower}transformer.resblocks.{i}.attn.{p}_proj.w_lora_{m}"] for m in "AB"
            }
            for p in params
        }
        for tower in towers
        for i in range(6)
    ]
    metadata = {"r": 2, "alpha": 1, "encoder": encoder, "params": params, "position": "all"}
    torch.save({"weights": {f"layer_{i}": layer for i, layer in enumerate(layers)}, "metadata": metadata}, path)
    return path


@pytest.mark.parametrize("variant", ["both_r2_qkv_randB", "vision_r2_qv_dropout0.25"])
def test_clip_lora(variant, golden_folder, tmp_path):
    golden = Golden("clip_lora", variant)
    settings = golden.settings
    path = save_as_clip_lora(golden, tmp_path / "lora_weights.pt", settings["encoder"], settings["params"])
    method = import_official(path, tiny_backbone("vit", golden_folder), settings["classes"])
    name = "init/logits_merged" if "init/logits_merged" in golden else "init/logits_unmerged"
    golden.check(name, method(batch(0)[0]))


def test_an_imported_method_is_saved_and_loaded_like_any_other(golden_folder, tmp_path):
    golden = Golden("clip_lora", "both_r2_qkv_randB")
    backbone = tiny_backbone("vit", golden_folder)
    path = save_as_clip_lora(golden, tmp_path / "lora_weights.pt", "both", golden.settings["params"])
    method = import_official(path, backbone, golden.settings["classes"])
    loaded = adaptkit.load(method.save_pretrained(tmp_path / "adapter"), backbone)
    assert torch.equal(loaded(batch(0)[0]), method(batch(0)[0]))


def test_the_command_writes_an_adapter(golden_folder, tmp_path, capsys):
    golden = Golden("coop", "vit_ctxinit_middle")
    tiny_backbone("vit", golden_folder)  # writes the file of weights
    checkpoint = save_as_dassl({"ctx": golden["init/ctx"]}, tmp_path / "model.pth.tar-50")
    (tmp_path / "names.txt").write_text("\n".join(golden.settings["classes"]))
    words = ["import-checkpoint", checkpoint, "--out", tmp_path / "adapter", "--backbone", "auto"]
    words += ["--checkpoint", golden_folder / "vit.safetensors", "--classnames", tmp_path / "names.txt"]
    assert main([str(word) for word in [*words, "--option", "class_token_position=middle"]]) == 0
    assert "coop on 6 classes" in capsys.readouterr().out
    loaded = adaptkit.load(tmp_path / "adapter", tiny_backbone("vit", golden_folder))
    golden.check("logits", loaded(batch(0)[0]))
    for wrong, expected in ((["--classes", "a"], "give one of them"), (["--option", "depth"], "expected NAME=VALUE")):
        assert main([str(word) for word in [*words, *wrong]]) == 2
        assert expected in capsys.readouterr().err


class Evil:
    """Writes a file when it is unpickled the ordinary way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_no_code_in_a_checkpoint_runs(golden_folder, tmp_path):
    golden = Golden("coop", "vit_nctx4_end")
    path, trace = tmp_path / "model.pth.tar-50", tmp_path / "trace"
    torch.save({"state_dict": {"ctx": golden["init/ctx"]}, "scheduler": Evil(trace)}, path)
    method = import_official(path, tiny_backbone("vit", golden_folder), golden.settings["classes"])
    assert torch.equal(method.context.ctx, golden["init/ctx"])
    assert not trace.exists()
    assert isinstance(read_torch_file(path)["scheduler"], Inert)
    path.write_bytes(pickle.dumps({"state_dict": {"ctx": 1}, "scheduler": Evil(trace)}))
    with pytest.raises(ValueError, match="cannot be read as a file of torch"):
        import_official(path, tiny_backbone("vit", golden_folder), ["cat"])
    assert not trace.exists()


def test_what_is_no_checkpoint_of_theirs_is_refused(golden_folder, tmp_path):
    backbone, path = tiny_backbone("vit", golden_folder), tmp_path / "file.pt"
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        import_official(path, backbone, ["cat"])
    lora = {"weights": {"layer_0": {}}, "metadata": {"r": 2, "alpha": 1, "encoder": "text", "params": ["q"]}}
    for content, expected in (
        ([1], "holds a list"),
        ({"a": 1}, "has no state_dict"),
        ({"state_dict": {"fc.weight": torch.zeros(2)}}, "has fc.weight, which is none of CoOp"),
        ({"state_dict": {"prompt_learner.proj.weight": torch.zeros(2)}}, "not what the papers' code saves: KeyError"),
        ({"state_dict": {"ctx": torch.zeros(4, 3)}}, "does not fit coop"),
        ({"state_dict": {"ctx": torch.full((4, 64), torch.nan)}}, "is not finite"),
        (lora, "KeyError\\('position'\\)"),
        ({**lora, "metadata": {**lora["metadata"], "position": "all"}}, "has 1 layers"),
        ({**lora, "metadata": {**lora["metadata"], "position": "deep"}}, "has the position 'deep'"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=expected):
            import_official(path, backbone, ["cat"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}))
    with pytest.raises(ValueError, match="compressed"):
        import_official(path, backbone, ["cat"])


@pytest.mark.parametrize(
    "tensors",
    [
        {"ctx": torch.randn(4, 64), **class_bound("", 4, 5, 64)},
        {"prompt_learner.ctx": torch.randn(4, 64), **class_bound("prompt_learner.", 4, 5, 64)},
        {"ctx": torch.randn(5, 4, 64)},
        {"module.ctx": torch.randn(4, 64), **class_bound("module.", 4, 5, 64)},
    ],
    ids=["coop", "inside_a_prompt_learner", "class_specific", "in_parallel"],
)
@pytest.mark.parametrize("names", [["cat"], ["a", "b", "c"], list("abcdef")], ids=len)
def test_fewer_or_more_names_than_a_file_has_classes_are_refused(tensors, names, golden_folder, tmp_path):
    path = save_as_dassl(tensors, tmp_path / "model.pth.tar-50")
    with pytest.raises(ValueError, match=rf"learnt on 5 classes .* and {len(names)} names are given"):
        import_official(path, tiny_backbone("vit", golden_folder), names)


def test_whole_numbers_in_the_place_of_learnt_ones_are_refused(golden_folder, tmp_path):
    torch.save({"state_dict": {"ctx": torch.zeros(4, 64, dtype=torch.int64)}}, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="is int64; expected float32"):
        import_official(tmp_path / "file.pt", tiny_backbone("vit", golden_folder), ["cat"])


def test_a_checkpoint_of_another_clip_is_refused(golden_folder, tmp_path):
    golden = Golden("maple", "nctx2_depth1")
    tensors = recorded(golden, "step5") | whole_model("vit")
    tensors["image_encoder.conv1.weight"] = torch.randn_like(tensors["image_encoder.conv1.weight"].float())
    path = save_as_dassl(tensors, tmp_path / "model.pth.tar-5")
    with pytest.raises(ValueError, match="on a CLIP with other weights than"):
        import_official(path, tiny_backbone("vit", golden_folder), golden.settings["classes"])
