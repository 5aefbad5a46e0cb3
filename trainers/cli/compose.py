"""The verbs `adaptkit compose ...`: search images by an image and a text that says what shall be different."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter
from trainers.cli.given_backbone import add_backbone, backbone_of

if TYPE_CHECKING:
    from adaptkit.heads.isa import Isa
    from trainers.evaluation.composed import ComposedScores

OK = 0
LAYOUTS = ("jsonl", "fashion_iq", "cirr", "circo")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `compose` to a command's verbs."""
    compose = verbs.add_parser("compose", help="find images by an image and a text that says what shall be different")
    own = compose.add_subparsers(dest="compose_verb", required=True, metavar="VERB")
    _add_train(own)
    _add_search(own)
    _add_eval(own)


def _add_train(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = verbs.add_parser(
        "train",
        help="learn from unlabelled images to turn an image into words",
        description="Train a token learner on the images of a folder or a table (ISA, arXiv:2403.01431); labels are "
        "not read. The same command goes on from where it was stopped.",
    )
    train.add_argument("images", type=values.path_as_text, metavar="IMAGES", help="a folder of images, or a table")
    train.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the head")
    train.add_argument("--words", type=values.whole(1, 64), default=6, help="words of an image (default: 6)")
    train.add_argument(
        "--learner", choices=("attention", "mlp"), default="attention", help="how words are made (default: attention)"
    )
    train.add_argument(
        "--encoder",
        type=values.text,
        metavar="NAME",
        help="a light image model of timm for queries (default: the backbone's patch tokens)",
    )
    train.add_argument("--timm-pretrained", action="store_true", help="start it from timm's published weights")
    train.add_argument("--epochs", type=values.count, default=20, help="passes over the images (default: 20)")
    train.add_argument("--lr", type=values.number(above=0), default=1e-4, help="(default: 0.0001)")
    train.add_argument("--batch-size", type=values.whole(2), default=256, help="images of a step (default: 256)")
    train.add_argument(
        "--local-weight",
        type=values.number(above=0),
        default=1.0,
        help="weight of the local alignment regularisation (default: 1)",
    )
    train.add_argument("--no-local", action="store_true", help="leave the local alignment regularisation out")
    train.add_argument("--seed", type=values.seed, default=1, help="of first weights and order (default: 1)")
    train.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    add_backbone(train)
    train.add_argument("--json", action="store_true", help="the numbers as JSON")
    train.set_defaults(run=_train)


def _add_search(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    search = verbs.add_parser("search", help="the images that are nearest to an image with a change")
    add_adapter(search)
    search.add_argument(
        "gallery", type=values.path_as_text, metavar="GALLERY", help="an index of images, or a folder of them"
    )
    search.add_argument("--image", type=values.path_as_text, required=True, metavar="FILE", help="the reference image")
    search.add_argument("--text", type=values.text, help='what shall be different, such as "in red"')
    _add_beta(search)
    search.add_argument("--top", type=values.count, help="images (default: 10, or all where there are fewer)")
    search.add_argument("--json", action="store_true", help="one JSON object")
    search.add_argument("--verify", action="store_true", help="compare the checksums of an index first")
    search.set_defaults(run=_search)


def _add_eval(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = verbs.add_parser(
        "eval",
        help="recalls and mAP of queries whose targets are known",
        description="Recall, recall in subsets and mAP of queries with known targets, beside the image alone, the text "
        "alone, their sum and the arc between them. DATA is a .jsonl file of reference, modifier and target, or the "
        "folder of a published set.",
    )
    add_adapter(evaluate)
    evaluate.add_argument(
        "data", type=values.path, metavar="DATA", help="a .jsonl file, or the folder of FashionIQ, CIRR or CIRCO"
    )
    evaluate.add_argument("--layout", choices=LAYOUTS, default="jsonl", help="what DATA is (default: jsonl)")
    evaluate.add_argument("--split", choices=("val", "train"), default="val", help="of a published set (default: val)")
    evaluate.add_argument(
        "--gallery",
        type=values.path_as_text,
        metavar="GALLERY",
        help="an index, or a folder of images (default: the folder of a .jsonl file, or a published set's own)",
    )
    _add_beta(evaluate)
    evaluate.add_argument("--no-baselines", action="store_true", help="judge the head alone")
    evaluate.add_argument("--json", action="store_true", help="all numbers as JSON")
    evaluate.set_defaults(run=_eval)


def _add_beta(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--beta",
        type=values.number(above=0, most=100),
        metavar="X",
        help="weight of the text's own feature in a query (default: the head's, which is none)",
    )


def _train(args: argparse.Namespace) -> int:
    from adaptkit import TrainingFacts
    from datasets_fewshot import FeatureStore
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.fit.sentences import SentenceTraining, fit_sentences, unlabelled
    from trainers.retrieval.sources import read_entries
    from trainers.training.checkpoints import discard_checkpoints

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {str(args.out)!r} is a file; give a folder")
    if args.timm_pretrained and args.encoder is None:
        raise ValueError("--timm-pretrained is of a light model, and none is named; give --encoder, or leave it out")
    entries = read_entries(args.images)
    if entries.kind != "images":
        raise ValueError(f"{args.images!r} holds texts, and images are learnt from; give a folder of images or a table")
    settings = SentenceTraining(
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.batch_size,
        lambda_=0.0 if args.no_local else args.local_weight,
        seed=args.seed,
    )
    images, work = unlabelled(Path(entries.root), list(entries.names)), args.out / ".training"
    learnt = fit_sentences(
        images,
        backbone_of(args),
        settings,
        store=FeatureStore(cache_folder() / "features"),
        work=work,
        workers=args.workers,
        on_epoch=None if args.json else lambda done: print(f"epoch {done} of {args.epochs}", file=sys.stderr),
        tokens=args.words,
        learner=args.learner,
        encoder=args.encoder or "",
        encoder_pretrained=args.timm_pretrained,
    )
    count = len(images.split.train)
    note = f"Learnt on {count} images without labels; mean loss of the last epoch {learnt.losses[-1]:.4f}."
    facts = TrainingFacts(images.name, 0, seed=args.seed, epochs=args.epochs, notes=(note, *entries.notes))
    learnt.head.save_pretrained(args.out, facts)
    discard_checkpoints(work)
    with contextlib.suppress(OSError):  # Nothing was written, or something else lies in it.
        work.rmdir()
    if args.json:
        print(json.dumps({"out": str(args.out), "images": count, "losses": list(learnt.losses)}, indent=1))
        return OK
    print(*(f"note: {line}" for line in entries.notes), note, sep="\n")
    print(f"wrote {args.out}: `adaptkit compose search {args.out} GALLERY --image FILE --text TEXT` uses it")
    return OK


def _search(args: argparse.Namespace) -> int:
    from trainers.retrieval.composed import gallery_of
    from trainers.retrieval.towers import PairTowers

    head = _head(args)
    query = head.compose(args.image, args.text or "", args.beta).cpu()
    with gallery_of(args.gallery, PairTowers(head.backbone), args.verify) as gallery:
        hits = gallery.search(query, min(10, len(gallery)) if args.top is None else args.top)
    if args.json:
        results = [
            {"rank": rank, "item": hit.item, "place": hit.place, "similarity": hit.similarity}
            for rank, hit in enumerate(hits, start=1)
        ]
        print(json.dumps({"image": args.image, "text": args.text, "results": results}, ensure_ascii=False))
    else:
        print(*(f"{hit.similarity:.3f}  {hit.item}" for hit in hits), sep="\n")
    return OK


def _eval(args: argparse.Namespace) -> int:
    from datasets_fewshot.composed.jsonl import read_queries
    from trainers.evaluation.composed import mean_of
    from trainers.retrieval.composed import LAYOUTS as PUBLISHED
    from trainers.retrieval.composed import gallery_of, judge
    from trainers.retrieval.sources import Entries
    from trainers.retrieval.towers import PairTowers

    sets = () if args.layout == "jsonl" else PUBLISHED[args.layout](args.data, args.split)
    if not sets:
        from adaptkit.regular_file import open_regular

        open_regular(args.data, "list of queries").close()  # before anything is encoded
    head = _head(args)
    towers = PairTowers(head.backbone)
    found = {}
    if sets:
        for own in sets:
            place = args.gallery or Entries("images", str(own.image_root.resolve()), own.gallery)
            with gallery_of(place, towers) as gallery:
                found[own.name] = judge(head, own, gallery, args.beta, not args.no_baselines)
    else:
        with gallery_of(args.gallery or str(args.data.parent), towers) as gallery:
            asked = read_queries(args.data, Path(gallery.meta.root), gallery.items)
            found[asked.name] = judge(head, asked, gallery, args.beta, not args.no_baselines)
    if len(found) > 1:
        ways = next(iter(found.values()))
        found["mean"] = {way: {"": mean_of([own[way][""] for own in found.values()])} for way in ways}
    rows = [
        {"set": name, "group": group, "way": way, **_as_json(scores)}
        for name, ways in found.items()
        for way, groups in ways.items()
        for group, scores in groups.items()
    ]
    print(json.dumps(rows, indent=1, ensure_ascii=False) if args.json else _table(rows))
    return OK


def _head(args: argparse.Namespace) -> "Isa":
    """The head that a folder holds.

    Raises:
        ValueError: if it is another one.
    """
    from adaptkit.heads.isa import Isa
    from trainers.cli.adapter.options import open_any

    head = open_any(args)
    if not isinstance(head, Isa):
        raise ValueError(
            f"{args.adapter} holds {type(head).__name__}, and words of an image are asked for; give a head that "
            "`adaptkit compose train` wrote"
        )
    return head.eval()


def _as_json(scores: "ComposedScores") -> dict[str, float]:
    named = (("R@", scores.recall), ("Rs@", scores.subset_recall), ("mAP@", scores.mean_average_precision))
    shares = {f"{what}{k}": value for what, row in named for k, value in row.items()}
    return {**shares, "median_rank": scores.median_rank, "queries": scores.queries}


def _table(rows: list[dict[str, object]]) -> str:
    """Rows as aligned columns, shares in percent; Rs is the recall among a query's own subset."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "group" or any(r["group"] for r in rows)))
    cells = [columns, *([_cell(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
