"""The verbs `adaptkit captions ...` and `adaptkit name`: indexes of captions, and names for images from them."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_labelled_images
from trainers.cli.given_backbone import MINI, add_backbone, backbone_of
from trainers.cli.own_data import add_table_options

if TYPE_CHECKING:
    from adaptkit import FrozenCLIP
    from adaptkit.texts.cased import Cased

OK = 0
OF_INDEX = "the index's, or adaptkit-mini"
LEAST_PER_CLASS = 5  # images, for a cluster accuracy that says something


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `captions` and `name` to a command's verbs."""
    captions = verbs.add_parser("captions", help="indexes of captions, which `adaptkit name` finds names in")
    own = captions.add_subparsers(dest="captions_verb", required=True, metavar="VERB")
    _add_build(own)
    _add_search(own)
    _add_eval(own)
    _add_name(verbs)


def _add_build(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    build = verbs.add_parser(
        "build",
        help="encode a file of captions into an index",
        description="Encode captions with the text tower of a backbone: FILE has one a line, or a column called "
        "caption in a Parquet file. The index answers for this backbone alone.",
    )
    build.add_argument("file", type=values.path_as_text, metavar="FILE", help=".txt, .txt.gz or .parquet")
    build.add_argument("--out", type=values.path, required=True, metavar="INDEX", help="a folder that is not there yet")
    add_backbone(build)
    build.add_argument("--template", type=values.text, default="{}", help="what is encoded of a caption (default: {})")
    build.add_argument(
        "--shard-rows", type=values.count, default=2**18, help="captions per file of the index (default: 262144)"
    )
    build.set_defaults(run=_build)


def _add_search(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    search = verbs.add_parser("search", help="the captions that are nearest to images, or to a text")
    search.add_argument("index", type=values.path_as_text, metavar="INDEX")
    search.add_argument("images", nargs="*", type=values.text, metavar="IMAGE", help="files, folders or patterns")
    search.add_argument("--text", type=values.text, help="a text in place of images")
    search.add_argument("--k", type=values.count, default=10, help="captions each (default: 10)")
    search.add_argument("--json", action="store_true", help="JSON, one object per line")
    add_backbone(search, otherwise=OF_INDEX)
    search.set_defaults(run=_search)


def _add_name(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    name = verbs.add_parser(
        "name",
        help="names for images, without a list of classes",
        description="Name images from captions that are near them: those of an index, or the nouns of WordNet that are "
        "inside the package.",
    )
    name.add_argument("images", nargs="+", type=values.text, metavar="IMAGE", help="files, folders or patterns")
    _add_head(name)
    name.add_argument("--json", action="store_true", help="JSON, one object per line, with candidates and captions")
    name.add_argument("--groups", action="store_true", help="the images of each name, the largest group first")
    name.add_argument("--batch-size", type=values.count, default=64, help="images at a time (default: 64)")
    name.add_argument(
        "--save", type=values.path, metavar="FOLDER", help="save the head too, for `adaptkit predict FOLDER IMAGE`"
    )
    name.set_defaults(run=_name)


def _add_eval(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = verbs.add_parser(
        "eval",
        help="hold the names of labelled images against their classes, with every baseline",
        description="Cluster accuracy, semantic IoU and similarity of CaSED, of its parts alone, of fixed vocabularies "
        "and of CLIP that is told the classes.",
    )
    add_labelled_images(evaluate)
    add_table_options(evaluate)
    _add_head(evaluate)
    evaluate.add_argument(
        "--vocabulary",
        type=values.path_as_text,
        action="append",
        default=[],
        metavar="FILE",
        help="a list of names, one a line, to compare with; may be repeated (default: nouns of WordNet)",
    )
    evaluate.add_argument("--json", action="store_true", help="all numbers as JSON")
    evaluate.set_defaults(run=_eval)


def _add_head(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--index", type=values.path_as_text, metavar="INDEX", help="a folder that `captions build` made"
    )
    add_backbone(parser, otherwise=OF_INDEX)
    parser.add_argument("--alpha", type=values.probability, default=0.7, help="weight of the image (default: 0.7)")
    parser.add_argument("--min-count", type=values.count, default=2, help="times that a word occurs (default: 2)")
    parser.add_argument("--bigrams", action="store_true", help="let two nouns side by side be a name")
    parser.add_argument("--search", choices=("exact", "faiss"), default="exact", help="faiss for large indexes")


def _backbone(args: argparse.Namespace, index: str | None = None) -> "FrozenCLIP":
    """The backbone that the options name, or adaptkit-mini.

    Raises:
        ValueError: if the index names another one and the options name none: no weights are loaded on a file's word.
    """
    from adaptkit.texts.cased.head import find_index
    from adaptkit.texts.cased.index_files import open_index

    if args.backbone is None and index:
        encoder = open_index(find_index(index), verify=False).encoder
        if encoder.model != MINI:
            raise ValueError(
                f"the index {index!r} was made with {encoder.model}, and a file makes no weights be loaded; name them: "
                f"--backbone {encoder.model}" + (f" --pretrained {encoder.pretrained}" if encoder.pretrained else "")
            )
    return backbone_of(args)


def _head(args: argparse.Namespace) -> "Cased":
    from adaptkit import create_head

    return create_head(  # type: ignore[return-value]
        "cased",
        _backbone(args, args.index),
        index=args.index or "",
        alpha=args.alpha,
        min_count=args.min_count,
        bigrams=args.bigrams,
        search=args.search,
    )


def _build(args: argparse.Namespace) -> int:
    from adaptkit.regular_file import open_regular
    from adaptkit.texts.cased.index_files import build_index, read_captions

    open_regular(args.file, "file of captions").close()  # before the backbone is loaded
    index = build_index(read_captions(args.file), _backbone(args), args.out, args.template, args.shard_rows)
    print(f"wrote {args.out}: {len(index)} captions of width {index.dim} in {len(index.vectors.shards)} files")
    return OK


def _search(args: argparse.Namespace) -> int:
    import torch

    from adaptkit.contract.images import batches
    from adaptkit.texts.cased.head import find_index
    from adaptkit.texts.cased.index import encode
    from adaptkit.texts.cased.index_files import open_index
    from trainers.cli.adapter.predict import image_paths

    if (args.text is None) == (not args.images):
        raise ValueError("give images or --text, and not both, to search the captions with")
    backbone = _backbone(args, args.index)
    index = open_index(find_index(args.index))
    index.check_backbone(backbone)
    asked = [args.text] if args.text is not None else list(image_paths(args.images, sys.stdin))
    for what in asked:
        if args.text is not None:
            query = encode(backbone, [what])
        else:
            with torch.no_grad():
                query = torch.cat(
                    [backbone.encode_image(part.to(backbone.device)) for part in batches(_Of(backbone), what, 1)]
                )
        found = index.search(query, args.k)
        nearest = [
            (index.captions[place], score)
            for place, score in zip(found.places[0].tolist(), found.scores[0].tolist(), strict=True)
        ]
        if args.json:
            said = [{"caption": caption, "similarity": score} for caption, score in nearest]
            print(json.dumps({"query": what, "captions": said}, ensure_ascii=False))
        else:
            print(f"{what}:", *(f"  {score:.3f}  {caption}" for caption, score in nearest), sep="\n")
    return OK


class _Of:
    """What preparing images needs of a method."""

    def __init__(self, backbone: "FrozenCLIP"):
        self.backbone = backbone


def _name(args: argparse.Namespace) -> int:
    from trainers.cli.adapter.predict import SOME_UNREADABLE, head_lines, image_paths

    paths = list(image_paths(args.images, sys.stdin))
    head = _head(args)
    if args.save is not None:
        head.save_pretrained(args.save)
    unreadable = 0
    groups: dict[str, list[str]] = {}
    for error, line in head_lines(head, paths, args.batch_size, as_objects=True):
        unreadable += error is not None
        if args.json:
            print(line, flush=True)
        elif error is not None:
            print(f"adaptkit: {error}", file=sys.stderr)
        elif args.groups:
            answer = json.loads(line)
            groups.setdefault(answer["label"], []).append(answer["image"])
        else:
            answer = json.loads(line)
            ranked = ", ".join(
                f"{one['name'].replace('_', ' ')} {100 * one['p']:.1f} %" for one in answer["candidates"]
            )
            print(f"{answer['image']}: {ranked}", flush=True)
    for label, images in sorted(groups.items(), key=lambda group: -len(group[1])):
        print(f"{label} ({len(images)}): {', '.join(images)}")
    return SOME_UNREADABLE if unreadable else OK


def _eval(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    import torch

    from adaptkit.texts.cased.index_files import read_captions
    from trainers.cli.adapter.evaluate import labelled_data, part_of
    from trainers.evaluation.naming import as_table, judge_naming
    from trainers.feeding.batches import evaluation_batches
    from trainers.feeding.feeds import IMAGE_EVAL_BATCH

    dataset = labelled_data(args)
    items = part_of(dataset, args.part)
    vocabularies = {Path(file).name: list(read_captions(file)) for file in args.vocabulary}
    head = _head(args)
    batches = evaluation_batches(dataset, items, head.backbone.preprocess_cfg, IMAGE_EVAL_BATCH, 0)
    with torch.no_grad():
        features = torch.cat([head.consume(images.to(head.device)) for images, _ in batches])
    rows = judge_naming(head, features, [item.classname for item in items], vocabularies or None)
    if args.json:
        print(
            json.dumps(
                {
                    "dataset": dataset.name,
                    "part": args.part,
                    "images": len(items),
                    "ways": [asdict(row) for row in rows],
                },
                indent=1,
            )
        )
    else:
        classes = {item.classname for item in items}
        print(f"{dataset.name}, {args.part}: {len(items)} images of {len(classes)} classes")
        print(as_table(rows))
        if len(items) < LEAST_PER_CLASS * len(classes):
            print("note: with few images of a class, names that are all different have a high cluster accuracy already")
    return OK
