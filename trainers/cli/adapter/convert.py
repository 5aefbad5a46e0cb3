"""The verbs `adaptkit save` and `adaptkit import-checkpoint`: trained weights of others become an adapter."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from trainers.cli import values
from trainers.cli.adapter.options import add_trust, named_classes

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `save` and `import-checkpoint` to a command's verbs."""
    save = verbs.add_parser(
        "save",
        help="turn the folder of a finished run into an adapter",
        description="Turn the folder of a finished run into an adapter, which `adaptkit predict` and `adaptkit.load` "
        "take. Its model card has the scores of the run.",
    )
    save.add_argument("run_folder", type=values.path, metavar="RUN", help="a folder with a record.json")
    save.add_argument("--out", type=values.path, required=True, help="the folder to write")
    save.add_argument(
        "--pretrained", type=values.text, help="tag of the backbone's weights, where the record does not name it"
    )
    save.add_argument(
        "--checkpoint", type=values.path, metavar="FILE", help="the file of weights, where the run was on one"
    )
    save.add_argument(
        "--backbone", type=values.text, metavar="NAME", help="the backbone, where it is a folder: local-dir:FOLDER"
    )
    add_trust(save)
    save.add_argument("--licence", type=values.text, help='of the adapter, as the hub spells it, such as "mit"')
    save.set_defaults(run=_save)
    imports = verbs.add_parser(
        "import-checkpoint",
        help="turn a checkpoint of a paper's released code into an adapter",
        description="Turn a checkpoint of the released code of CoOp, CoCoOp, TCP, MaPLe, PromptSRC, IVLP "
        "(model.pth.tar-N) or CLIP-LoRA (.pt) into an adapter. No code in the file runs.",
    )
    imports.add_argument("file", type=values.path, metavar="FILE", help="the checkpoint")
    imports.add_argument("--out", type=values.path, required=True, help="the folder to write")
    imports.add_argument(
        "--backbone", type=values.text, default="ViT-B-16", help="what it was learnt on (default: ViT-B-16)"
    )
    imports.add_argument(
        "--pretrained", type=values.text, help="the tag of the backbone's weights; the papers' are openai"
    )
    imports.add_argument("--checkpoint", type=values.path, metavar="WEIGHTS", help="or a local file of them")
    imports.add_argument(
        "--classes",
        type=values.class_names,
        action="append",
        metavar="A,B,C",
        help="the classes in label order; the checkpoint has no names. Repeated, each is one name, commas included",
    )
    imports.add_argument(
        "--classnames",
        type=values.path,
        metavar="NAMES",
        help="or a file: a name or class<TAB>name in every line, or JSON",
    )
    imports.add_argument(
        "--method", type=values.text, help="kgcoop, prograd or ivlp, whose files look like those of others"
    )
    imports.add_argument(
        "--option",
        type=values.text,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the file does not tell, such as class_token_position=middle; repeat it for more",
    )
    imports.set_defaults(run=_import)


def _save(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from adaptkit import load_backbone
    from trainers.runs.adapter import backbone_of_run, load_run, recorded_image_size
    from trainers.runs.records import read_record

    if not (args.run_folder / "record.json").is_file():
        raise FileNotFoundError(f"{args.run_folder} has no record.json; a finished run's folder has one")
    record = read_record(args.run_folder)
    if args.backbone is not None:
        size = recorded_image_size(record)
        backbone = load_backbone(args.backbone, args.pretrained, args.checkpoint, image_size=size)
    else:
        backbone = backbone_of_run(
            record, str(args.run_folder), args.pretrained, args.checkpoint, trust_hub=args.trust_hub
        )
    method, training = load_run(args.run_folder, backbone)
    method.save_pretrained(args.out, replace(training, licence=args.licence))
    print(f"wrote {args.out}: {record.label} on {len(method.classes)} classes of {record.dataset}")
    return OK


def _import(args: argparse.Namespace) -> int:
    from adaptkit import import_official, load_backbone

    names = class_names(args.classes, args.classnames)
    backbone = load_backbone(args.backbone, args.pretrained, args.checkpoint)
    options = dict(_option(written) for written in args.option)
    method = import_official(args.file, backbone, names, args.method, **options)
    method.save_pretrained(args.out)
    assert method.spec is not None
    print(f"wrote {args.out}: {method.spec.name} on {len(names)} classes")
    return OK


def class_names(listed: Sequence[str] | None, file: Path | None) -> list[str]:
    """Class names in label order, from `--classes` or from a file of them; two may be equal, as labels are.

    Raises:
        ValueError: if no name is given, a name is blank, or both the list and the file are given.
    """
    classes = named_classes(listed, file)
    if classes is None:
        raise ValueError("name the classes in label order: either --classes a,b,c or --classnames FILE")
    return list(classes.classnames)


def _option(written: str) -> tuple[str, object]:
    """Parse an option "depth=9" as ("depth", 9): JSON if it is valid JSON, else text."""
    name, sign, value = written.partition("=")
    if not sign:
        raise ValueError(f"--option {written!r}; expected NAME=VALUE, such as class_token_position=middle")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
