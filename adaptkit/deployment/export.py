"""Export a method or a head to a file that runs without adaptkit: images in, logits of fixed classes out.

The image tower stays as the method sees it; the classes are folded into one matrix, or are a head or a cache of their
own, and the text tower is left out. The file of a head gives its outputs. Every file is run and compared with the
method before it takes its place, on more images than it was traced with, so the check also covers other batch sizes.

    onnx           onnxruntime and most other engines; int8 weights with `quantize`
    torchscript    torch.jit.load, also from C++
    torch.export   torch.export.load, and compilers from there
"""

import json
import logging
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.contract.head import Head
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.regular_file import user_path
from adaptkit.towers.linears import use_onednn

Format = Literal["onnx", "torchscript", "torch.export"]
Run = Callable[[Tensor], Tensor]
Exportable = AdaptedCLIP | Head

TOLERANCE = 1e-4  # Relative to the largest logit, or to 1 if all are smaller.
MAX_ONNX_BYTES = 1_900_000_000  # One protocol buffer file holds 2 GB.
TRACED, CHECKED = 2, 5  # Numbers of images.
FACTS = "adaptkit.json"  # File name inside torch's files; ONNX keeps these facts as metadata.


@dataclass(frozen=True)
class Exported:
    """A written file, and the distance of its logits from the method's."""

    path: Path
    max_difference: float
    largest_logit: float
    agreement: float  # Share of compared images with the same top class, or largest output of a head.


class Folded(nn.Module):
    """Images (B, 3, H, W) -> logits (B, C) with the classes folded in, or outputs (B, ...) of a head."""

    def __init__(self, method: Exportable):
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> Tensor:
        return self.method(images)


def export(method: Exportable, path: str | Path, file_format: Format) -> Exported:
    """Write a method with its present classes, or a head, to a file.

    Raises:
        ValueError: if the format is unknown, the method encodes class names anew for every image, its weights are
            not float32, or the written file computes something else.
        ImportError: if a package that the format needs is missing.
    """
    if file_format not in get_args(Format):
        raise ValueError(f"format {file_format!r} is unknown; use one of {', '.join(get_args(Format))}")
    path = user_path(path, "output")
    _refuse_what_cannot_be_folded(method)
    was_training = method.training
    method.eval()
    traced, checked = _images(method, TRACED), _images(method, CHECKED)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(use_onednn(False))  # The trace must run on every machine.
            if isinstance(method, AdaptedCLIP):
                stack.enter_context(method.encode_classes_once())
            stack.enter_context(warnings.catch_warnings())
            # Tracers warn of shapes that are constant here, and of functions that torch will drop.
            warnings.simplefilter("ignore")
            expected = method(checked)
            with replacing(path) as temporary:
                run = _WRITERS[file_format](method, traced, temporary)
                result = _compare(path, run(checked), expected)
                if not result.max_difference <= TOLERANCE * max(1.0, result.largest_logit):
                    raise ValueError(
                        f"the {file_format} file differs from the method by {result.max_difference:.2g} in a logit, of "
                        f"{result.largest_logit:.3g} at most, so it was not kept; please report it with the method's "
                        "name and the versions of torch and onnxruntime"
                    )
    finally:
        method.train(was_training)
    return result


def quantize(path: str | Path, out: str | Path, method: Exportable) -> Exported:
    """Write an ONNX file with int8 weights, and measure its distance from the method; no distance is refused.

    Raises:
        ImportError: if onnxruntime is missing.
    """
    quantization = _onnxruntime().quantization
    out, checked = user_path(out, "output"), _images(method, CHECKED)
    logger = logging.getLogger()
    with replacing(out) as temporary:
        # onnxruntime recommends preprocessing that exported graphs have had.
        disabled, logger.disabled = logger.disabled, True
        try:
            quantization.quantize_dynamic(str(path), str(temporary), weight_type=quantization.QuantType.QInt8)
        finally:
            logger.disabled = disabled
        with torch.no_grad():
            return _compare(out, _onnx_session(temporary)(checked), method.eval()(checked))


def _refuse_what_cannot_be_folded(method: Exportable) -> None:
    if isinstance(method, AdaptedCLIP) and not method.folds_classes():
        raise ValueError(
            f"{type(method).__name__} encodes the class names anew for every image, so there is no class matrix to "
            "fold; export coop, maple or another method whose class weights hold for every image"
        )
    if method.backbone.dtype != torch.float32:
        raise ValueError(f"the backbone is {method.backbone.dtype}; load it in float32 to export it")


def _images(method: Exportable, count: int) -> Tensor:
    """Seeded noise (count, 3, H, W) with the mean and deviation of preprocessed images."""
    height, width = method.backbone.preprocess_cfg.image_size
    noise = torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(count))
    return noise.to(method.device)


def _compare(path: Path, found: Tensor, expected: Tensor) -> Exported:
    found, expected = found.cpu().double(), expected.cpu().double()
    return Exported(
        path,
        max_difference=float((found - expected).abs().max()),
        largest_logit=float(expected.abs().max()),
        agreement=float((found.flatten(1).argmax(dim=1) == expected.flatten(1).argmax(dim=1)).double().mean()),
    )


def _facts(method: Exportable) -> dict[str, str]:
    """Facts for the file's users: class names in the logits' order, and the preprocessing of images."""
    return {
        **({} if isinstance(method, Head) else _class_facts(method)),
        "preprocess": json.dumps(asdict(method.backbone.preprocess_cfg)),
        "method": type(method).__name__,
        "backbone": str(method.backbone.source or method.backbone.name),
    }


def _class_facts(method: AdaptedCLIP) -> dict[str, str]:
    """Class names; of a method with several labels per image, also the logits from which each of them is an answer."""
    facts = {"classnames": json.dumps(method.classes.classnames, ensure_ascii=False)}
    if method.label_thresholds is not None:
        facts["scores"] = "independent: the sigmoid of each logit"
        facts["logit_thresholds"] = json.dumps(method.label_thresholds.tolist())
    return facts


def _write_torch_export(method: Exportable, images: Tensor, path: Path) -> Run:
    # Open files, because torch warns of a path with another ending, and the file is not yet called as it will be.
    with path.open("wb") as file:
        torch.export.save(_program(method, images), file, extra_files={FACTS: json.dumps(_facts(method))})
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _program(method: Exportable, images: Tensor) -> torch.export.ExportedProgram:
    """The exported graph with only the weights that it reads: the text tower is gone."""
    shapes = {"images": {0: torch.export.Dim.DYNAMIC}}
    graph = torch.export.export(Folded(method), (images,), dynamic_shapes=shapes).module()
    assert isinstance(graph, torch.fx.GraphModule)
    graph.graph.eliminate_dead_code()
    return torch.export.export(torch.fx.GraphModule(graph, graph.graph), (images,), dynamic_shapes=shapes)


def _write_torchscript(method: Exportable, images: Tensor, path: Path) -> Run:
    traced = torch.jit.freeze(torch.jit.trace(Folded(method).eval(), (images,), check_trace=False))
    torch.jit.save(traced, str(path), _extra_files={FACTS: json.dumps(_facts(method))})
    return torch.jit.load(str(path), map_location=images.device)


def _write_onnx(method: Exportable, images: Tensor, path: Path) -> Run:
    _onnxruntime()
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise ImportError("the ONNX exporter needs onnxscript: pip install 'adaptkit-clip[export]'") from error
    exported = _program(method, images)
    size = sum(tensor.numel() * tensor.element_size() for tensor in exported.state_dict.values())
    if size > MAX_ONNX_BYTES:
        raise ValueError(f"the weights have {size} bytes and an ONNX file holds 2 GB; use torch.export")
    program = torch.onnx.export(
        exported,
        (),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=[_output_name(method)],
        optimize=True,
        custom_translation_table=_translations(),
    )
    assert program is not None
    program.model.metadata_props.update(_facts(method))
    program.save(path, external_data=False)
    return _onnx_session(path)


def _output_name(method: Exportable) -> str:
    return "outputs" if isinstance(method, Head) else "logits"


def _translations() -> dict[Callable, Callable]:
    """What the exporter has no translation for: torch's stable sort. ONNX's TopK leaves equals in their order too."""
    from onnxscript import FLOAT, INT64, opset18

    op: Any = opset18  # Its types ask more of shapes than ONNX does.

    def stable_sort(x: FLOAT, stable: bool = True, dim: int = -1, descending: bool = False) -> tuple[FLOAT, INT64]:
        length = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
        return op.TopK(x, length, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: stable_sort}


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
        import onnxruntime.quantization
    except ImportError as error:
        raise ImportError("ONNX files are checked with onnxruntime: pip install 'adaptkit-clip[export]'") from error
    return onnxruntime


def _onnx_session(path: Path) -> Run:
    """An ONNX file as a function of images (B, 3, H, W)."""
    session = _onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {"images": images.cpu().numpy()})
        return torch.from_numpy(logits)

    return run


_WRITERS: dict[str, Callable[[Exportable, Tensor, Path], Run]] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "torch.export": _write_torch_export,
}
