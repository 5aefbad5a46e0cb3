"""The verbs `adaptkit export` and `adaptkit merge`: adapters as files that run elsewhere."""

import argparse
from pathlib import Path

from trainers.cli import values
from trainers.cli.adapter.options import (
    add_adapter,
    add_classes,
    for_classes,
    open_adapter,
    open_any,
    refuse_options_of_classes,
)

OK = 0
FORMATS = ("onnx", "torchscript", "torch.export")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `export` and `merge` to a command's verbs."""
    export = verbs.add_parser(
        "export",
        help="write an adapter as ONNX, TorchScript or torch.export",
        description="Write an adapter as one file: images in, logits of fixed classes out, for batches of any size. "
        "The file is run and compared with the adapter before it is kept; it carries the class names and how images "
        "are prepared.",
    )
    add_adapter(export)
    add_classes(export)
    export.add_argument("--format", choices=FORMATS, default="onnx", help="default: onnx")
    export.add_argument("--int8", action="store_true", help="int8 weights, for onnx; says how far the result is off")
    export.add_argument("--out", type=values.path, required=True, metavar="FILE", help="the file to write")
    export.set_defaults(run=_export)
    merge = verbs.add_parser(
        "merge",
        help="fold a clip_lora or peft adapter into its backbone's weights",
        description="Fold a clip_lora or peft adapter into its backbone's weights: a checkpoint that works as a "
        "backbone wherever one is named.",
    )
    add_adapter(merge)
    merge.add_argument("--out", type=values.path, required=True, metavar="FILE", help="the .safetensors file to write")
    merge.add_argument(
        "--alpha",
        type=values.number(least=0, most=1),
        default=1.0,
        help="from 0, zero-shot weights, to 1, the learnt ones (default)",
    )
    merge.set_defaults(run=_merge)


def _export(args: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from adaptkit import AdaptedCLIP
    from adaptkit.deployment.export import export, quantize

    if args.int8 and args.format != "onnx":
        raise ValueError(f"--int8 goes with --format onnx, not {args.format}")
    method = open_any(args)
    if isinstance(method, AdaptedCLIP):
        method = for_classes(method, args, 1)
    else:
        refuse_options_of_classes(args)
    if args.int8:
        with TemporaryDirectory() as folder:
            exact = export(method, Path(folder) / "exact.onnx", "onnx").path
            result = quantize(exact, args.out, method)
    else:
        result = export(method, args.out, args.format)
    size = args.out.stat().st_size / 2**20
    difference = f"largest difference from the adapter: {result.max_difference:.2g}"
    if not isinstance(method, AdaptedCLIP):
        print(f"wrote {args.out}: {size:.1f} MiB, the outputs of a head")
        print(f"{difference} in outputs of at most {result.largest_logit:.3g}")
        return OK
    print(f"wrote {args.out}: {size:.1f} MiB, {len(method.classes)} classes")
    if method.calibration is not None:
        print(
            f"its logits are divided by the temperature {method.calibration.temperature:.3g}, so softmax is calibrated"
        )
    print(
        f"{difference} in logits of at most {result.largest_logit:.3g}; same class for "
        f"{100 * result.agreement:.0f} % of noise images"
    )
    return OK


def _merge(args: argparse.Namespace) -> int:
    from adaptkit.deployment.merging import merge, save_backbone

    method = open_adapter(args)
    save_backbone(merge(method, args.alpha), args.out)
    name = method.backbone.source.name if method.backbone.source else method.backbone.name
    print(f'wrote {args.out}: adaptkit.load_backbone("{name}", checkpoint="{args.out}")')
    return OK
