"""The verbs `adaptkit save` and `adaptkit import-checkpoint`: what others have trained, as an adapter."""

import argparse
from pathlib import Path

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to a command's."""
    save = verbs.add_parser(
        "save",
        help="turn the folder of a finished run into an adapter",
        description="Turn the folder of a finished run into an adapter, which `adaptkit predict` and `adaptkit.load` "
        "take. Its model card has the scores of the run.",
    )
    save.add_argument("run_folder", type=Path, metavar="RUN", help="a folder with a record.json")
    save.add_argument("--out", type=Path, required=True, help="the folder to write")
    save.add_argument("--pretrained", help="tag of the backbone's weights, where the record does not name it")
    save.add_argument("--checkpoint", type=Path, metavar="FILE", help="the file of weights, where the run was on one")
    save.add_argument("--licence", help='of the adapter, as the hub spells it, such as "mit"')
    save.set_defaults(run=_save)


def _save(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from adaptkit import load_backbone
    from trainers.records import read_record
    from trainers.run_adapter import load_run

    if not (args.run_folder / "record.json").is_file():
        raise FileNotFoundError(f"{args.run_folder} has no record.json; a finished run's folder has one")
    record = read_record(args.run_folder)
    named = record.pretrained if record.pretrained not in ("", "own", "file") else None
    pretrained = None if args.checkpoint else args.pretrained or named
    backbone = load_backbone(record.backbone, pretrained, args.checkpoint)
    method, training = load_run(args.run_folder, backbone)
    method.save_pretrained(args.out, replace(training, licence=args.licence))
    print(f"wrote {args.out}: {record.label} on {len(method.classes)} classes of {record.dataset}")
    return OK
