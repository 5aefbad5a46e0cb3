"""The verbs `adaptkit link ...`: records of an image, a text or both are linked, looked up and clustered."""

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter
from trainers.cli.given_backbone import add_backbone, backbone_of

if TYPE_CHECKING:
    from adaptkit.heads import MultimodalLinking
    from datasets_fewshot.pairs.link_records import LinkRecord, RecordSet
    from trainers.fit.link_protocol import ProtocolRow
    from trainers.fit.linking import LinkTraining

OK = 0
TABLE_HELP = (
    "a .csv, .tsv or .jsonl with columns image, text and group, whose images or texts may be empty; or mini_pairs"
)


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `link` to a command's verbs."""
    link = verbs.add_parser("link", help="link records that have an image, a text or both")
    own = link.add_subparsers(dest="link_verb", required=True, metavar="VERB")
    _add_train(own)
    _add_search(own)
    _add_cluster(own)
    _add_eval(own)


def _add_train(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = verbs.add_parser(
        "train",
        help="learn from records of known groups which belong together, and save the head",
        description="Learn one vector of a record's image and text (CLIPPINGS, arXiv:2304.03464) on the training "
        "groups of a table; epoch, first weight of images and threshold are chosen on the validation groups.",
    )
    _add_table(train)
    train.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the head")
    train.add_argument("--mixing", choices=("scalar", "gate", "fixed"), default="scalar", help="(default: scalar)")
    train.add_argument("--objective", choices=("supcon", "contrastive"), default="supcon", help="(default: supcon)")
    train.add_argument("--tokens", action="store_true", help="train a matcher of tokens, too, that ranks again (M3EL)")
    train.add_argument("--epochs", type=values.count, default=20, help="(default: 20)")
    train.add_argument("--lr", type=values.number(above=0), default=1e-3, help="(default: 0.001)")
    train.add_argument("--batch-size", type=values.whole(2), default=153, help="records of a step (default: 153)")
    train.add_argument("--per-group", type=values.whole(2), default=3, metavar="N", help="of a group (default: 3)")
    train.add_argument(
        "--hard-negatives", type=values.helpers, default=3, metavar="N", help="groups that come with one (default: 3)"
    )
    train.add_argument("--seed", type=values.seed, default=1, help="of weights, order and dropout (default: 1)")
    add_backbone(train)
    train.add_argument("--json", action="store_true", help="the numbers as JSON")
    train.set_defaults(run=_train)


def _add_search(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    search = verbs.add_parser("search", help="the records of a table that an image, a text or both are linked to")
    add_adapter(search)
    _add_table(search)
    search.add_argument("--image", type=values.path_as_text, metavar="FILE", help="what is looked for")
    search.add_argument("--text", type=values.text, help="what is looked for, alone or beside the image")
    search.add_argument("--top", type=values.count, default=5, metavar="N", help="records at most (default: 5)")
    _add_threshold(search, "records that are farther are left out (default: none are)")
    search.add_argument("--json", action="store_true", help="one JSON object")
    search.set_defaults(run=_search)


def _add_cluster(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    cluster = verbs.add_parser("cluster", help="put the records of a table into clusters")
    add_adapter(cluster)
    _add_table(cluster)
    _add_threshold(cluster, "distance up to which two records are one cluster (default: the head's)")
    cluster.add_argument("--out", type=values.path, metavar="FILE", help="a .csv of records with their clusters")
    cluster.add_argument("--json", action="store_true", help="the clusters as JSON")
    cluster.set_defaults(run=_cluster)


def _add_eval(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = verbs.add_parser(
        "eval",
        help="compare a head with images alone, texts alone and both without training",
        description="Link and cluster the test records of a table by images alone, by texts alone, by both without "
        "training and by a head. Weights and thresholds are chosen on the validation records; intervals are of 95 % by "
        "bootstrap over groups.",
    )
    add_adapter(evaluate)
    _add_table(evaluate)
    evaluate.add_argument("--draws", type=values.count, default=1000, metavar="N", help="of groups (default: 1000)")
    evaluate.add_argument("--seed", type=values.seed, default=1, help="of the draws (default: 1)")
    evaluate.add_argument("--json", action="store_true", help="the table as JSON")
    evaluate.set_defaults(run=_eval)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=values.path_as_text, metavar="TABLE", help=TABLE_HELP)
    parser.add_argument("--image-column", type=values.text, metavar="NAME", help="the column of image paths")
    parser.add_argument("--text-column", type=values.text, metavar="NAME", help="the column of texts")
    parser.add_argument("--group-column", type=values.text, metavar="NAME", help="the column of groups")
    parser.add_argument("--encoding", type=values.text, help="of the table (default: Unicode's are recognised)")


def _add_threshold(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--threshold", type=values.number(least=0, most=2), metavar="DISTANCE", help=what)


def _read(args: argparse.Namespace, with_groups: bool) -> "RecordSet":
    from datasets_fewshot.pairs.link_records import RecordColumns, load_records

    columns = RecordColumns(args.image_column, args.text_column, args.group_column, args.encoding)
    records = load_records(args.table, columns)
    for note in records.notes:
        print(f"note: {note}", file=sys.stderr)
    if with_groups and not records.has_groups:
        raise ValueError(f"{args.table} has no column of groups; name it with --group-column, or add one called group")
    return records


def _train(args: argparse.Namespace) -> int:
    from adaptkit import TrainingFacts, create_head
    from adaptkit.heads import MultimodalLinking
    from adaptkit.heads.multimodal_linking import tune_pooling
    from trainers.compute.seeds import seeded
    from trainers.fit.linking import LinkTraining, check_linkable, encode_part, train_linking

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {str(args.out)!r} is a file; give a folder")
    records = _read(args, with_groups=True)
    settings = LinkTraining(
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.batch_size,
        per_group=args.per_group,
        hard_negatives=args.hard_negatives,
        seed=args.seed,
    )
    backbone = backbone_of(args)
    train, val = (encode_part(backbone, part, records) for part in (records.train, records.val))
    check_linkable(train[1], "training")
    check_linkable(val[1], "validation")
    start = tune_pooling(*val)
    with seeded(args.seed, backbone.device):
        head = create_head(
            "multimodal_linking",
            backbone,
            weight=start.weight,
            mixing=args.mixing,
            objective=args.objective,
            tokens=args.tokens,
        )
    assert isinstance(head, MultimodalLinking)
    log = train_linking(head, *train, *val, settings)
    if args.tokens:
        _train_tokens(head, records, train[1], val, settings)
    note = (
        f"Adjusted Rand index on {len(val[1])} validation records: {log.validation[log.kept]:.3f}, before training "
        f"{log.validation[0]:.3f}. Kept: epoch {log.kept} of {args.epochs}; threshold {head.threshold:.3f}."
    )
    head.save_pretrained(
        args.out, TrainingFacts(records.name, 0, seed=args.seed, epochs=args.epochs, notes=(note, *records.notes))
    )
    if args.json:
        content = {"before": log.validation[0], "ari": log.validation[log.kept], "epoch": log.kept}
        more = {"threshold": head.threshold, "start_weight": start.weight, "train": len(train[1]), "val": len(val[1])}
        print(json.dumps({**content, **more}, indent=1))
        return OK
    print(note)
    print(f"wrote {args.out}: `adaptkit link eval {args.out} {args.table}` tests it")
    return OK


def _train_tokens(head, records, groups, val, settings: "LinkTraining") -> None:  # type: ignore[no-untyped-def]
    from trainers.fit.link_protocol import shortlists, tune_rerank
    from trainers.fit.linking import encode_record_tokens, train_matcher

    train_matcher(head, encode_record_tokens(head, records.train, records), groups, settings)
    tune_rerank(head, shortlists(head, val[0], encode_record_tokens(head, records.val, records), val[1]))


def _search(args: argparse.Namespace) -> int:
    from trainers.fit.link_search import Asked, linked

    asked = Asked(args.image, args.text)
    records = _read(args, with_groups=False)
    links = linked(_head(args), records, asked, args.top, args.threshold)
    found = [
        {**dataclasses.asdict(link), "text": records.all[link.place].text, "group": records.all[link.place].group}
        for link in links
    ]
    if args.json:
        print(json.dumps({"image": args.image, "text": args.text, "links": found}, ensure_ascii=False))
    else:
        print(*(f"{each['distance']:.3f}  {each['name']}  {each['text']}".rstrip() for each in found), sep="\n")
    return OK


def _cluster(args: argparse.Namespace) -> int:
    from adaptkit.artefacts.atomic_file import write_text
    from trainers.fit.link_search import index_of

    records = _read(args, with_groups=False)
    head = _head(args)
    threshold = head.threshold if args.threshold is None else args.threshold
    if threshold is None:
        raise ValueError(f"{args.adapter} has no threshold of its own; give one with --threshold")
    clusters = index_of(head, records).cluster(threshold).tolist()
    together: dict[int, list[str]] = {}
    for record, cluster in zip(records.all, clusters, strict=True):
        together.setdefault(cluster, []).append(record.name)
    if args.out is not None:
        write_text(args.out, _as_csv(records.all, clusters))
    if args.json:
        print(json.dumps({"threshold": threshold, "clusters": list(together.values())}, ensure_ascii=False))
        return OK
    several = [names for names in together.values() if len(names) > 1]
    print(f"{len(clusters)} records in {len(together)} clusters, {len(several)} of two or more, at {threshold:.3f}")
    for names in several if args.out is None else ():
        print("  ".join(names))
    return OK


def _as_csv(records: "tuple[LinkRecord, ...]", clusters: list[int]) -> str:
    import csv
    import io

    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(("image", "text", "group", "cluster"))
    for record, cluster in zip(records, clusters, strict=True):
        rows.writerow((record.path, record.text, record.group, cluster))
    return written.getvalue()


def _eval(args: argparse.Namespace) -> int:
    from trainers.fit.link_protocol import protocol, rerank_row, shortlists
    from trainers.fit.linking import check_linkable, encode_part, encode_record_tokens

    records = _read(args, with_groups=True)
    head = _head(args)
    val, test = (encode_part(head.backbone, part, records) for part in (records.val, records.test))
    check_linkable(val[1], "validation")
    check_linkable(test[1], "testing")
    rows = protocol(val, test, head, draws=args.draws, seed=args.seed)
    if head.matcher is not None:
        tokens = encode_record_tokens(head, records.test, records)
        rows.append(rerank_row(head, shortlists(head, test[0], tokens, test[1]), draws=args.draws, seed=args.seed))
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    else:
        print(f"{len(test[1])} records of {rows[0].scores.groups} groups")
        print(*_lines(rows), sep="\n")
    return OK


def _lines(rows: "list[ProtocolRow]") -> list[str]:
    names = ("top1", "ari", "pairs_f1", "b_cubed_f1")
    lines = [f"{'':16}{'w':>6}{'t':>7}" + "".join(f"{name:>22}" for name in names) + f"{'nmi':>7}"]
    for row in rows:
        s = row.scores
        found = (s.top1, s.ari, None if s.pairs is None else s.pairs.f1, None if s.b_cubed is None else s.b_cubed.f1)
        cells = "".join(
            f"{'-':>22}" if value is None else f"{f'{value:.3f} [{low:.3f}, {high:.3f}]':>22}"
            for value, (low, high) in zip(found, (row.intervals.get(name, (0, 0)) for name in names), strict=True)
        )
        weight = "-" if row.weight is None else f"{row.weight:.2f}"
        limit = "-" if row.threshold is None else f"{row.threshold:.3f}"
        nmi = "-" if s.nmi is None else f"{s.nmi:.3f}"
        lines.append(f"{row.way:16}{weight:>6}{limit:>7}{cells}{nmi:>7}")
    return lines


def _head(args: argparse.Namespace) -> "MultimodalLinking":
    from adaptkit.heads import MultimodalLinking
    from trainers.cli.adapter.options import open_any

    head = open_any(args)
    if not isinstance(head, MultimodalLinking):
        raise ValueError(f"{args.adapter} links no records; `adaptkit link train` makes a head that does")
    return head.eval()
