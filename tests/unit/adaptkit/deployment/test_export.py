"""Exported files: what they compute, what is in them, and what is refused."""

import json
import logging

import pytest
import torch

import adaptkit
from adaptkit import create_method
from adaptkit.deployment.export import FACTS, export, quantize
from tests.conftest import CLASSES
from tests.helpers.calibrated import calibrated
from trainers.cli import main


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def run_torch(path):
    return torch.export.load(path).module()


def run_torchscript(path):
    return torch.jit.load(path)


def run_onnx(path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the [export] extra")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


def needs_onnx() -> None:
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed: the [export] extra")


@pytest.mark.parametrize(
    ("name", "file_format", "run"),
    [
        ("maple", "torch.export", run_torch),
        ("tip_adapter", "torch.export", run_torch),
        ("maple", "torchscript", run_torchscript),
        ("mmrl", "torchscript", run_torchscript),
        pytest.param("mmrl", "torch.export", run_torch, marks=pytest.mark.slow),
        ("clip_lora", "torchscript", run_torchscript),
        ("linear_probe", "torchscript", run_torchscript),
    ],
)
def test_a_file_computes_the_logits_of_batches_of_any_size(name, file_format, run, tiny_clip, tmp_path):
    method = create_method(name, tiny_clip, CLASSES).eval()
    if name == "tip_adapter":
        method.prepare(adaptkit.Support(tiny_clip.encode_image(images(4)), torch.arange(4)))
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.05)
    result = export(method, tmp_path / "file", file_format)
    assert result.agreement == 1
    loaded = run(str(tmp_path / "file"))
    with torch.no_grad():
        for count in (1, 7):
            torch.testing.assert_close(loaded(images(count)), method(images(count)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("file_format", "run"),
    [
        ("torchscript", run_torchscript),  # every format is written of what divides by the temperature
        pytest.param("torch.export", run_torch, marks=pytest.mark.slow),
        pytest.param("onnx", run_onnx, marks=pytest.mark.slow),
    ],
)
def test_the_softmax_of_a_calibrated_methods_file_is_calibrated(file_format, run, tiny_clip, tmp_path):
    if file_format == "onnx":
        needs_onnx()
    method = calibrated(create_method("zero_shot", tiny_clip, CLASSES).eval())
    assert method.calibration is not None
    temperature = method.calibration.temperature
    assert temperature > 1.2
    export(method, tmp_path / "file", file_format)
    with torch.no_grad():
        logits = run(str(tmp_path / "file"))(images(3))
        torch.testing.assert_close(logits, method(images(3)) / temperature, rtol=1e-4, atol=1e-4)
    expected = torch.tensor([answer.probability for answer in method.predict(images(3))])
    torch.testing.assert_close(logits.softmax(dim=1).amax(dim=1), expected, rtol=1e-3, atol=1e-4)


def test_a_files_facts_name_the_temperature_that_is_in_its_logits(tiny_clip, tmp_path):
    for method in (
        create_method("zero_shot", tiny_clip, CLASSES),
        calibrated(create_method("coop", tiny_clip, CLASSES)),
    ):
        export(method, tmp_path / "file.pt", "torchscript")
        facts = {FACTS: ""}
        torch.jit.load(str(tmp_path / "file.pt"), _extra_files=facts)
        found = json.loads(facts[FACTS]).get("temperature")
        assert found == (None if method.calibration is None else repr(method.calibration.temperature))


def test_torch_says_nothing_of_the_file_that_is_being_written(tiny_clip, tmp_path, caplog):
    logger = logging.getLogger("torch.export.pt2_archive._package")
    logger.addHandler(caplog.handler)
    try:
        export(create_method("zero_shot", tiny_clip, CLASSES), tmp_path / "file.pt2", "torch.export")
    finally:
        logger.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_onnx_computes_the_logits_and_carries_names_and_preprocessing(tiny_clip, tmp_path):
    needs_onnx()
    import onnx

    method = create_method("maple", tiny_clip, CLASSES).eval()
    result = export(method, tmp_path / "file.onnx", "onnx")
    assert result.max_difference < 1e-4
    run = run_onnx(tmp_path / "file.onnx")
    with torch.no_grad():
        for count in (1, 7):
            torch.testing.assert_close(run(images(count)), method(images(count)), rtol=1e-4, atol=1e-4)
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "file.onnx").metadata_props}
    assert json.loads(facts["classnames"]) == list(CLASSES)
    assert json.loads(facts["preprocess"])["image_size"] == [32, 32]
    small = quantize(tmp_path / "file.onnx", tmp_path / "int8.onnx", method)
    assert small.max_difference > result.max_difference
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "file.onnx").stat().st_size / 2


def test_the_text_tower_is_left_out_and_the_names_are_in(tiny_clip, tmp_path):
    method = create_method("coop", tiny_clip, CLASSES)
    whole = sum(parameter.numel() for parameter in tiny_clip.parameters()) * 4
    path = export(method, tmp_path / "torchscript", "torchscript").path
    assert path.stat().st_size < whole / 10
    extra = {FACTS: ""}
    torch.jit.load(tmp_path / "torchscript", _extra_files=extra)
    assert json.loads(json.loads(extra[FACTS])["classnames"]) == list(CLASSES)
    assert method.training, "exporting leaves the method as it was"


def test_a_method_whose_prompts_depend_on_the_image_is_refused(tiny_clip, tmp_path):
    with pytest.raises(ValueError, match="encodes the class names anew for every image"):
        export(create_method("cocoop", tiny_clip, CLASSES), tmp_path / "file", "torch.export")
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_not_kept(tiny_clip, tmp_path, monkeypatch):
    def write_nonsense(method, traced, path):
        path.write_text("nonsense")
        return lambda x: torch.zeros(len(x), len(CLASSES))

    monkeypatch.setitem(adaptkit.deployment.export._WRITERS, "torchscript", write_nonsense)
    with pytest.raises(ValueError, match="differs from the method by"):
        export(create_method("coop", tiny_clip, CLASSES), tmp_path / "file", "torchscript")
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_and_half_weights_are_refused(tiny_clip, tmp_path):
    with pytest.raises(ValueError, match="format 'tflite' is unknown"):
        export(create_method("coop", tiny_clip, CLASSES), tmp_path / "file", "tflite")
    half = adaptkit.load_backbone("ViT-S-32-alt", pretrained="random", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="load it in float32"):
        export(create_method("zero_shot", half, CLASSES), tmp_path / "file", "torch.export")


def test_the_command_exports_other_classes(tmp_path, capsys):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    folder = create_method("coop", backbone, CLASSES, n_ctx=2).save_pretrained(tmp_path / "adapter")
    words = ["export", folder, "--format", "torchscript", "--classes", "cat,dog", "--out", tmp_path / "file.pt"]
    assert main([str(word) for word in words]) == 0
    out = capsys.readouterr().out
    assert "2 classes" in out
    assert "largest difference from the adapter" in out
    assert torch.jit.load(tmp_path / "file.pt")(torch.zeros(3, 3, 48, 48)).shape == (3, 2)
    assert main([str(word) for word in [*words, "--int8"]]) == 2
