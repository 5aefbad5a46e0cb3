"""The verbs `adaptkit retrieve ...`: galleries of images or texts, searched with texts and images."""

import argparse
import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_trust
from trainers.cli.given_backbone import MINI, add_backbone, backbone_of
from trainers.cli.given_pairs import COLUMNS, FORMS, add_columns

if TYPE_CHECKING:
    from trainers.retrieval.gallery import Built, Gallery, Hit, Searches
    from trainers.retrieval.towers import PairTowers

OK = 0
HOST = "127.0.0.1"  # a gallery shows files of this machine, and to this machine alone


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `retrieve` to a command's verbs."""
    retrieve = verbs.add_parser("retrieve", help="find images by texts or images, and texts by images")
    own = retrieve.add_subparsers(dest="retrieve_verb", required=True, metavar="VERB")
    _add_build(own)
    _add_search(own)
    _add_serve(own)
    _add_eval(own)


def _add_build(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    build = verbs.add_parser(
        "build",
        help="encode images or texts into an index",
        description="Encode the images of a folder or of a table, or the texts of a file, into an index. It answers "
        "for this backbone and this adapter alone.",
    )
    build.add_argument(
        "data",
        type=values.path_as_text,
        metavar="DATA",
        help="a folder of images, a table of them, or a .txt, .txt.gz or .parquet file of texts",
    )
    build.add_argument("--out", type=values.path, required=True, metavar="INDEX", help="a folder that is not there yet")
    _add_model(build)
    build.add_argument("--path-column", type=values.text, metavar="NAME", help="of a table: the column of image paths")
    build.add_argument(
        "--text-column", type=values.text, metavar="NAME", help="of a table: take the texts of this column, no images"
    )
    build.add_argument("--encoding", type=values.text, help="of a table, such as cp1252 (default: Unicode's)")
    build.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be read")
    build.add_argument("--batch-size", type=values.count, default=64, help="entries at a time (default: 64)")
    build.add_argument(
        "--shard-rows", type=values.count, default=2**18, help="entries per file of the index (default: 262144)"
    )
    build.add_argument(
        "--workers", type=values.processes, default=1, metavar="N", help="processes that share the entries (default: 1)"
    )
    build.add_argument(
        "--launcher",
        choices=("local", "ray"),
        default="local",
        help="where the workers run: on this machine, or on a Ray cluster whose machines see the same folders",
    )
    build.add_argument(
        "--address", type=values.text, metavar="ADDRESS", help="of a Ray cluster (default: one on this machine)"
    )
    build.set_defaults(run=_build)


def _add_search(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    search = verbs.add_parser("search", help="the entries of an index that are nearest to a text or an image")
    search.add_argument("index", type=values.path_as_text, metavar="INDEX")
    asked = search.add_mutually_exclusive_group(required=True)
    asked.add_argument("--text", type=values.text, help="what is looked for")
    asked.add_argument("--image", type=values.path_as_text, metavar="FILE", help="an image in place of a text")
    search.add_argument("--top", type=values.count, help="entries (default: 10, or all where there are fewer)")
    search.add_argument("--json", action="store_true", help="one JSON object")
    search.add_argument(
        "--verify", action="store_true", help="read all files of the index first, and compare checksums"
    )
    _add_model(search, of_index=True)
    _add_faiss(search)
    search.set_defaults(run=_search)


def _add_serve(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = verbs.add_parser(
        "serve",
        help="search an index on a web page with thumbnails",
        description="Serve an index to this machine: a page where texts are typed and images dropped, and GET and POST "
        "/search for programs.",
    )
    serve.add_argument("index", type=values.path_as_text, metavar="INDEX")
    serve.add_argument(
        "--images", type=values.path, metavar="FOLDER", help="where its images are now, if they were moved"
    )
    serve.add_argument("--port", type=values.port, default=8080, help="default: 8080")
    serve.add_argument("--max-mb", type=values.number(above=0), default=10.0, help="largest upload in MB (default: 10)")
    _add_model(serve, of_index=True)
    _add_faiss(serve)
    serve.set_defaults(run=_serve)


def _add_eval(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "eval",
        help="recall, median rank and mAP both ways on images with captions",
        description="The retrieval protocol: recall@1, 5 and 10, median rank, rsum and mAP@10 of images by text and of "
        "texts by image, with all captions of every image. Ties count against the model.",
    )
    parser.add_argument("--pairs", type=values.path_as_text, required=True, metavar="PATH", help=FORMS)
    add_columns(parser)
    parser.add_argument("--part", choices=("test", "val", "train"), default="test", help="which pairs (default: test)")
    parser.add_argument(
        "--folds",
        type=values.count,
        metavar="N",
        help="compare so many images at a time and give means, as 1000 for the 1k numbers of COCO (default: all)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    _add_model(parser)
    parser.set_defaults(run=_eval)


def _add_model(parser: argparse.ArgumentParser, of_index: bool = False) -> None:
    parser.add_argument(
        "--adapter", type=values.text, metavar="ADAPTER", help="a saved adapter: a folder, an archive or hf-hub:name"
    )
    if of_index:
        parser.add_argument(
            "--upgrade",
            type=values.path_as_text,
            metavar="FOLDER",
            help="search an index of an old model with a new one, which --backbone names; see `adaptkit upgrade fit`",
        )
    add_backbone(parser, otherwise="the index's, where that is adaptkit-mini" if of_index else MINI)
    add_trust(parser)


def _add_faiss(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--faiss", action="store_true", help="search approximately with faiss, if it is installed")
    parser.add_argument("--probes", type=values.count, default=16, help="lists that faiss looks at (default: 16)")


def _build(args: argparse.Namespace) -> int:
    from trainers.retrieval.gallery import LAYOUT, build_gallery
    from trainers.retrieval.sources import read_entries

    if args.out.exists():
        raise FileExistsError(f"{args.out} is there already; give a folder that is not, or remove it first")
    if args.text_column is not None and args.path_column is not None:
        raise ValueError("--path-column is of images and --text-column of texts; an index has one kind, so give one")
    if args.address is not None and args.launcher != "ray":
        raise ValueError("--address is of a Ray cluster; give --launcher ray, or leave it out")
    entries = read_entries(args.data, args.path_column, args.text_column, args.encoding)
    towers = _towers(args)
    if towers.name and not towers.adapts_texts:
        print(f"note: {towers.name} changes no feature of a text; texts are encoded by the backbone alone")
    for note in entries.notes:
        print(f"note: {note}")
    if args.workers == 1 and args.launcher == "local":
        built = build_gallery(
            entries,
            towers,
            args.out,
            skip_bad=args.skip_bad,
            batch_size=args.batch_size,
            shard_rows=args.shard_rows,
        )
    else:
        built = _built_together(args)
    for reason in built.unreadable:
        print(f"adaptkit: left out: {reason}", file=sys.stderr)
    gallery, left_out = built.gallery, f", {len(built.unreadable)} left out" if built.unreadable else ""
    files = f"{len(gallery.rows.shards)} file{'s' * (len(gallery.rows.shards) > 1)}"
    print(
        f"wrote the {LAYOUT.what} {args.out}: {len(gallery)} {entries.kind} of width {gallery.rows.dim} in "
        f"{files}{left_out}"
    )
    return OK


def _built_together(args: argparse.Namespace) -> "Built":
    from trainers.launchers import Launcher, Local
    from trainers.launchers.ray import Ray
    from trainers.retrieval.built_together import Parts, build_together, parts_folder
    from trainers.retrieval.sources import read_entries

    read = partial(read_entries, args.data, args.path_column, args.text_column, args.encoding)
    count = sum(1 for _ in read().names)
    parts = Parts(
        read, partial(_worker_towers, args), count, parts_folder(args.out), args.skip_bad, batch_size=args.batch_size
    )
    devices = _devices(args)
    launcher: Launcher
    if args.launcher == "ray":
        on_gpu = devices[0] != "cpu"
        launcher = Ray(args.workers, "cuda" if on_gpu else "cpu", args.address or "", gpus=1.0 if on_gpu else 0.0)
    else:
        launcher = Local(devices)
    return build_together(parts, launcher, args.out, device=devices[0], shard_rows=args.shard_rows)


def _devices(args: argparse.Namespace) -> list[str]:
    """A device for each worker: the one that was named, or all GPUs in turn."""
    import torch

    from adaptkit.backbone.devices import choose_device

    device = choose_device(args.device)
    if args.device == "auto" and device.type == "cuda":
        return [f"cuda:{index % torch.cuda.device_count()}" for index in range(args.workers)]
    return [str(device)] * args.workers


def _worker_towers(args: argparse.Namespace, device: str) -> "PairTowers":
    """The model in one of several workers, with its share of this machine's threads."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.workers))
    return _towers(argparse.Namespace(**{**vars(args), "device": device}))


def _search(args: argparse.Namespace) -> int:
    import torch

    from adaptkit.contract.images import prepared

    gallery, towers = _opened(args, args.verify)
    if args.text is not None:
        query = towers.encode_texts([args.text])
    else:
        query = towers.encode_images(torch.stack([prepared(towers, args.image)]))
    hits = gallery.search(query, min(10, len(gallery)) if args.top is None else args.top, _by(args, gallery))
    if args.json:
        asked = {"text": args.text} if args.text is not None else {"image": args.image}
        results = [{"rank": rank, **_as_json(hit)} for rank, hit in enumerate(hits, start=1)]
        print(json.dumps({**asked, "kind": gallery.meta.kind, "results": results}, ensure_ascii=False))
    else:
        print(*(f"{hit.similarity:.3f}  {hit.item}" for hit in hits), sep="\n")
    return OK


def _as_json(hit: "Hit") -> dict[str, object]:
    return {"item": hit.item, "place": hit.place, "similarity": hit.similarity}


def _serve(args: argparse.Namespace) -> int:
    try:
        import uvicorn

        from trainers.serving.connections import SERVER_OPTIONS, check_port
        from trainers.serving.gallery import make_gallery_app
    except ImportError as error:
        raise ImportError(f"serving needs {error.name}: pip install 'adaptkit-clip[serve]'") from error
    from trainers.cli.adapter.serve import LOOPBACK

    if args.images is not None and not args.images.is_dir():
        raise FileNotFoundError(f"there is no folder of images {str(args.images)!r}; check --images")
    check_port(HOST, args.port)
    gallery, towers = _opened(args, verify=True)
    if args.images is not None and not gallery.image(0, args.images).is_file():
        raise FileNotFoundError(
            f"{str(args.images)!r} has no {gallery.items[0]!r}, the first image of the index; give the folder that its "
            "images lie below with --images"
        )
    app = make_gallery_app(gallery, towers, int(args.max_mb * 1e6), LOOPBACK, args.images, _by(args, gallery))
    print(f"serving {args.index} at http://{HOST}:{args.port} (Ctrl-C stops it)", flush=True)
    uvicorn.run(app, host=HOST, port=args.port, **SERVER_OPTIONS)
    return OK


def _eval(args: argparse.Namespace) -> int:
    from datasets_fewshot.pairs.load import load_pairs
    from trainers.pairs.recall import retrieval_test

    pairs = load_pairs(args.pairs, **{name: getattr(args, name) for name in COLUMNS})
    found = retrieval_test(_towers(args), pairs, args.part, args.folds or 0)
    if args.json:
        print(json.dumps({"pairs": args.pairs, "part": args.part, **found.as_json()}, ensure_ascii=False))
    else:
        print(*found.lines(), sep="\n")
    return OK


def _opened(args: argparse.Namespace, verify: bool) -> "tuple[Gallery, PairTowers]":
    """The index, and the model that built it."""
    from trainers.retrieval.gallery import open_gallery

    gallery = open_gallery(args.index, verify)
    towers = _towers(args, gallery) if args.upgrade is None else _upgraded(args)
    gallery.check(towers)
    return gallery, towers


def _upgraded(args: argparse.Namespace) -> "PairTowers":
    """The new model of an upgrade, in the space of the old one.

    Raises:
        ValueError: if it is no adaptkit-mini and the options do not name it: no weights are loaded on a file's word.
    """
    from adaptkit.features.xbt import load_compat
    from adaptkit.features.xbt.compat_files import read_upgrade
    from adaptkit.regular_file import user_path
    from trainers.retrieval.towers import name_of_adapter
    from trainers.retrieval.upgraded import UpgradedTowers

    if args.adapter is not None:
        raise ValueError("--adapter and --upgrade each say how queries are encoded; leave one of them out")
    new = read_upgrade(user_path(args.upgrade, "upgrade"))[0].new
    if args.backbone is None and new.source.name != MINI:
        raise ValueError(
            f"the upgrade {args.upgrade!r} was fitted with {new} as the new model, and a file makes no weights be "
            f"loaded; name it: --backbone {new.source.name}"
        )
    return UpgradedTowers(load_compat(args.upgrade, backbone_of(args)), name_of_adapter(args.upgrade))


def _by(args: argparse.Namespace, gallery: "Gallery") -> "Searches | None":
    if not args.faiss:
        return None
    from adaptkit.vectors.faiss_search import FaissSearch

    return FaissSearch(gallery.rows, args.probes)


def _towers(args: argparse.Namespace, gallery: "Gallery | None" = None) -> "PairTowers":
    """The model that the options name, or adaptkit-mini.

    Raises:
        ValueError: if the index names another one and the options name none: no weights are loaded on a file's word.
    """
    from trainers.cli.adapter.options import open_any
    from trainers.retrieval.towers import PairTowers, name_of_adapter

    if args.adapter is not None:
        if args.pretrained is not None:
            raise ValueError("--pretrained is of a backbone by its name, and --adapter knows its own; leave it out")
        return PairTowers(open_any(args), name_of_adapter(args.adapter))
    if gallery is not None and args.backbone is None:
        made_by = gallery.meta.made_by
        named = f"--backbone {made_by.model}" + (f" --pretrained {made_by.pretrained}" if made_by.pretrained else "")
        if made_by.adapter or made_by.model != MINI:
            raise ValueError(
                f"the index {args.index!r} was built with {made_by}, and a file makes no weights be loaded; name the "
                "model: " + (f"--adapter with the place of {made_by.adapter!r}" if made_by.adapter else named)
            )
    return PairTowers(backbone_of(args))
