"""The verbs `adaptkit regions ...`: which region of an image carries which attribute of its text."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter, open_any
from trainers.cli.given_backbone import add_backbone, backbone_of

if TYPE_CHECKING:
    from adaptkit.heads.villa import RegionAttributeMapper
    from trainers.pairs.region_data import RegionData

OK = 0
HEADS = ("per_attribute", "shared", "adapter")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `regions` to a command's verbs."""
    regions = verbs.add_parser("regions", help="find which region of an image carries which attribute of its text")
    own = regions.add_subparsers(dest="regions_verb", required=True, metavar="VERB")
    _add_train(own)
    _add_map(own)
    _add_search(own)
    _add_tune(own)


def _add_train(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = verbs.add_parser(
        "train",
        help="learn the mapping from images with texts that list attributes, and save the head",
        description="Encode regions of images, learn which of them carry the attributes that the texts name (ViLLA, "
        "arXiv:2308.11194), and save the head. The same command goes on from where it was stopped.",
    )
    _add_data(train)
    train.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the head")
    train.add_argument(
        "--attributes",
        type=values.text,
        metavar="A,B,C|FILE.txt",
        help="attributes that are looked for in the texts as whole words; or those of --attribute-column",
    )
    train.add_argument(
        "--least", type=values.count, default=2, help="images for which a column has to list one (default: 2)"
    )
    train.add_argument(
        "--synonyms",
        type=values.names,
        action="append",
        default=[],
        metavar="A,B",
        help="attributes that mean the same and are no negatives of each other; may be repeated",
    )
    train.add_argument("--heads", choices=HEADS, default="per_attribute", help="(default: per_attribute)")
    train.add_argument("--pooling", choices=("max", "logsumexp"), default="max", help="of regions (default: max)")
    train.add_argument(
        "--of", choices=("crops", "patches"), default="crops", help="what regions are encoded from (default: crops)"
    )
    train.add_argument(
        "--epsilon", type=values.number(least=0), default=0.2, help="margin of the assignment (default: 0.2)"
    )
    train.add_argument("--epochs", type=values.count, default=30, help="(default: 30)")
    train.add_argument("--lr", type=values.number(above=0), default=1e-4, help="(default: 0.0001)")
    train.add_argument("--batch-size", type=values.whole(2), default=48, help="images of a step (default: 48)")
    train.add_argument("--seed", type=values.seed, default=1, help="of heads and order (default: 1)")
    add_backbone(train)
    train.add_argument("--json", action="store_true", help="the numbers as JSON")
    train.set_defaults(run=_train)


def _add_map(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    table = verbs.add_parser(
        "map",
        help="write a table of regions and the attributes that they carry",
        description="Give the attributes that each text names to regions of its image: a table of image, box as shares "
        "of its sides, attribute and score.",
    )
    add_adapter(table)
    _add_data(table)
    table.add_argument("--out", type=values.path, required=True, metavar="FILE", help="a .csv or .jsonl file")
    table.set_defaults(run=_map)


def _add_search(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    search = verbs.add_parser(
        "search",
        help="find images and boxes by an attribute",
        description="Find the images of an index of regions that show an attribute, each with its best box. A head "
        "that is shared by all attributes takes any words.",
    )
    add_adapter(search)
    search.add_argument("index", type=values.path, metavar="INDEX", help="a folder that --regions has written")
    search.add_argument("--attribute", type=values.text, required=True, metavar="TEXT", help="what is looked for")
    search.add_argument("--top", type=values.count, default=10, help="images (default: 10)")
    search.add_argument("--json", action="store_true", help="one JSON object")
    search.set_defaults(run=_search)


def _add_tune(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    tune = verbs.add_parser(
        "tune",
        help="train an adapter on the regions and what is said of them",
        description="Make region-text pairs with a mapping model, and train a method that changes image features on "
        "them. The same command goes on from where it was stopped.",
    )
    add_adapter(tune)
    _add_data(tune)
    tune.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the adapter")
    tune.add_argument(
        "--method", type=values.text, default="clip_adapter", help="such as clip_lora (default: clip_adapter)"
    )
    tune.add_argument("--epochs", type=values.count, default=10, help="(default: 10)")
    tune.add_argument("--lr", type=values.number(above=0), default=1e-3, help="(default: 0.001)")
    tune.add_argument("--batch-size", type=values.whole(2), default=256, help="pairs of a step (default: 256)")
    tune.add_argument("--piece", type=values.count, default=64, help="crops with gradients at a time (default: 64)")
    tune.add_argument("--seed", type=values.seed, default=1, help="of order and drawn sentences (default: 1)")
    tune.add_argument("--json", action="store_true", help="the numbers as JSON")
    tune.set_defaults(run=_tune)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        type=values.path_as_text,
        metavar="DATA",
        help="images with texts: a table (CSV, TSV, JSONL), a Karpathy JSON, an imagefolder, shards, or mini_pairs",
    )
    parser.add_argument("--image-column", type=values.text, metavar="NAME", help="the column of image paths")
    parser.add_argument("--caption-column", type=values.text, metavar="NAME", help="the column of texts")
    parser.add_argument(
        "--attribute-column", type=values.text, metavar="NAME", help="a column of lists: red; round; wooden"
    )
    parser.add_argument(
        "--group-column", type=values.text, metavar="NAME", help="images with the same word here stay in one part"
    )
    parser.add_argument("--encoding", type=values.text, help="of tables (default: UTF-8 and UTF-16 are recognised)")
    parser.add_argument(
        "--boxes",
        type=values.path,
        metavar="FILE",
        help="a table of image, x0, y0, x1, y1 (default: 14 boxes of grids)",
    )
    parser.add_argument("--pixels", action="store_true", help="its corners are pixels, not shares of the image's sides")
    parser.add_argument("--grid", type=values.wholes(1, 32), default=[1, 2, 3], help="sides of grids (default: 1,2,3)")
    parser.add_argument(
        "--regions",
        type=values.path,
        metavar="INDEX",
        help="a folder for features of regions, which search takes (default: kept in --out, or not at all by map)",
    )


def _data(args: argparse.Namespace) -> "RegionData":
    from trainers.pairs.region_data import Columns, load_region_data

    columns = Columns(args.image_column, args.caption_column, args.attribute_column, args.group_column, args.encoding)
    if args.pixels and args.boxes is None:
        raise ValueError("--pixels says what the corners of --boxes are; give the table of boxes, too")
    data = load_region_data(args.data, columns, args.boxes, args.pixels, args.grid)
    for note in data.notes:
        print(f"note: {note}", file=sys.stderr)
    return data


def _mapper(args: argparse.Namespace) -> "RegionAttributeMapper":
    from adaptkit.heads.villa import RegionAttributeMapper

    head = open_any(args)
    if not isinstance(head, RegionAttributeMapper):
        raise ValueError(f"{args.adapter} maps no regions; `adaptkit regions train` makes a head that does")
    return head


def _train(args: argparse.Namespace) -> int:
    from trainers.pairs.region_data import found_attributes, named_attributes
    from trainers.pairs.region_mapping import MapperRequest, map_and_save

    if (args.attributes is None) == (args.attribute_column is None):
        raise ValueError("give either --attributes, which are looked for in the texts, or --attribute-column")
    data = _data(args)
    if args.attributes is not None:
        attributes = named_attributes(args.attributes)
    else:
        attributes = found_attributes(data, args.attribute_column, args.least)
    request = MapperRequest(
        out=args.out,
        options={
            "attributes": attributes,
            "heads": args.heads,
            "pooling": args.pooling,
            "regions": args.of,
            "epsilon": args.epsilon,
            "synonyms": tuple(map(tuple, args.synonyms)),
            "grid": tuple(args.grid),
        },
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.batch_size,
        seed=args.seed,
        index=args.regions,
    )
    result = map_and_save(data, backbone_of(args), request)
    print(json.dumps(result.as_json(), indent=1) if args.json else "\n".join(result.lines))
    return OK


def _map(args: argparse.Namespace) -> int:
    from trainers.pairs.region_mapping import write_table

    if args.out.suffix.lower() not in (".csv", ".jsonl"):
        raise ValueError(f"--out {str(args.out)!r} ends in neither .csv nor .jsonl; give a table's name")
    data = _data(args)
    mapper = _mapper(args)
    count, images = write_table(mapper, data, args.out, args.regions)
    print(f"wrote {args.out}: {count} attributes of regions in {images} of {len(data.images)} images")
    return OK


def _search(args: argparse.Namespace) -> int:
    from trainers.pairs.region_mapping import search
    from trainers.retrieval.region_index import open_region_index

    index = open_region_index(args.index)
    hits = search(_mapper(args), index, args.attribute, min(args.top, len(index)))
    if args.json:
        found = [{"image": hit.image, "box": hit.box, "score": hit.score} for hit in hits]
        print(json.dumps({"attribute": args.attribute, "root": index.meta.root, "results": found}, indent=1))
        return OK
    for hit in hits:
        print(f"{hit.score:.4f}  {hit.image}  {' '.join(f'{side:.3f}' for side in hit.box)}")
    return OK


def _tune(args: argparse.Namespace) -> int:
    from trainers.pairs.region_tuning import RegionTuning, tune_and_save

    settings = RegionTuning(args.epochs, args.lr, batch_size=args.batch_size, piece=args.piece, seed=args.seed)
    result = tune_and_save(_mapper(args), _data(args), args.method, settings, args.out, args.regions)
    print(json.dumps(result.as_json(), indent=1) if args.json else "\n".join(result.lines))
    return OK
