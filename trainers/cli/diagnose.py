"""The verb `adaptkit diagnose`: what an adapter broke and mended of its own backbone, as text, JSON and a page."""

import argparse
import json
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_trust
from trainers.cli.given_backbone import MINI, add_backbone, backbone_of

if TYPE_CHECKING:
    from adaptkit import FrozenCLIP
    from adaptkit.contract.adapted_towers import AdaptedTowers
    from datasets_fewshot.pair_tests.pair_tests import PairTests
    from trainers.pairs.diagnosis.blind import BlindRequest
    from trainers.pairs.diagnosis.main import Questions

OK = 0
NONE = "none"
TESTS, PAIRS, GUARD = "mini_pair_tests", "mini_pairs", "icons"  # what the embedded model is asked by default


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `diagnose` to a command's verbs."""
    parser = verbs.add_parser(
        "diagnose",
        help="what an adapter broke and mended of its own backbone: pair tests, recall, zero-shot accuracy",
        description="Compare an adapter with its own backbone without it, item by item: pair tests, retrieval of "
        "images and captions, zero-shot accuracy. Without an adapter, the backbone alone is judged. For the embedded "
        f"model the tests are {TESTS}, the pairs {PAIRS} and the guard {GUARD} by default.",
    )
    parser.add_argument(
        "adapter",
        nargs="?",
        type=values.text,
        metavar="ADAPTER",
        help="a folder, a zip archive or hf-hub:owner/name; none for the backbone alone",
    )
    add_tests(parser)
    parser.add_argument(
        "--pairs",
        type=values.path_as_text,
        metavar="PATH",
        help="images with captions, for recall before and after; none for none",
    )
    parser.add_argument(
        "--guard", type=values.text, metavar="NAME", help="a data set for zero-shot accuracy; none for none"
    )
    parser.add_argument(
        "--blind",
        type=values.path,
        metavar="FOLDER",
        help="look for images in it that are alike to the model and not to the encoder of --other",
    )
    parser.add_argument(
        "--other",
        type=values.path,
        metavar="FEATURES",
        help="a .npy file of another encoder's features, a row for each image of --blind in the order of their paths",
    )
    parser.add_argument(
        "--hi", type=values.number(above=0, most=1), default=0.95, help="least cosine to the model (default: 0.95)"
    )
    parser.add_argument(
        "--lo", type=values.number(above=0, most=1), default=0.6, help="most cosine to the other one (default: 0.6)"
    )
    parser.add_argument("--top", type=values.count, default=50, help="pairs of --blind (default: 50)")
    add_backbone(parser, otherwise="the adapter's own, else adaptkit-mini")
    add_trust(parser)
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.add_argument("--page", type=values.path, metavar="FILE", help="write a page with the items that changed")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.set_defaults(run=_diagnose)


def add_tests(parser: argparse.ArgumentParser) -> None:
    """Add the options that name pair tests to a parser."""
    parser.add_argument(
        "--tests",
        type=values.path_as_text,
        action="append",
        metavar="PATH",
        help=f"a pair test: {TESTS}, MMVP-VLM's or SugarCrepe++'s folder, or a .jsonl, .json or .csv file; may be "
        "repeated; none for none",
    )
    parser.add_argument(
        "--images", type=values.path, metavar="FOLDER", help="where the images of --tests are, if not beside the file"
    )


def tests_of(args: argparse.Namespace, otherwise: bool) -> "tuple[PairTests, ...]":
    """The pair tests that the options name.

    Args:
        otherwise: whether the embedded one stands in where none is named.

    Raises:
        ValueError: if a test cannot be read, or `none` is given beside others.
    """
    from datasets_fewshot.pair_tests.load import load_pair_tests

    named = args.tests if args.tests is not None else [TESTS] if otherwise else []
    if NONE in named and len(named) > 1:
        raise ValueError(
            f"--tests {NONE} is given beside {next(name for name in named if name != NONE)!r}; leave one out"
        )
    return tuple(load_pair_tests(name, None if name == TESTS else args.images) for name in named if name != NONE)


def _diagnose(args: argparse.Namespace) -> int:
    from adaptkit.artefacts.atomic_file import write_text
    from adaptkit.contract.adapted_towers import AdaptedTowers
    from trainers.pairs.diagnosis.main import diagnose
    from trainers.pairs.diagnosis.page import page
    from trainers.pairs.diagnosis.report import as_json, report
    from trainers.retrieval.towers import name_of_adapter

    if args.page is not None and (args.page.is_dir() or not args.page.parent.is_dir()):
        raise ValueError(f"--page {str(args.page)!r} is a folder, or lies in none; name a file, such as broken.html")
    blind = _blind(args)
    named = (args.tests, args.pairs, args.guard)
    if args.adapter is None and args.backbone not in (None, MINI) and named == (None, None, None) and blind is None:
        raise ValueError(_nothing(args.backbone))
    model = _model(args)
    backbone = model.backbone if isinstance(model, AdaptedTowers) else model
    questions = _questions(args, blind, backbone.name == MINI)
    if not (questions.tests or questions.pairs or questions.guard or questions.blind):
        raise ValueError(_nothing(backbone.name))
    found = diagnose(model, questions, "" if args.adapter is None else name_of_adapter(args.adapter))
    if args.page is not None:
        write_text(args.page, page(found))
    print(json.dumps(as_json(found), indent=1, ensure_ascii=False) if args.json else report(found))
    if args.page is not None and not args.json:
        print(f"wrote {args.page}")
    return OK


def _nothing(backbone: str) -> str:
    return f"nothing is asked of {backbone}; name pair tests (--tests), pairs (--pairs) or a data set (--guard)"


def _questions(args: argparse.Namespace, blind: "BlindRequest | None", is_embedded: bool) -> "Questions":
    from datasets_fewshot import load_dataset
    from datasets_fewshot.pairs.load import load_pairs
    from trainers.pairs.diagnosis.main import Questions

    pairs, guard = (
        name or (usual if is_embedded else NONE) for name, usual in ((args.pairs, PAIRS), (args.guard, GUARD))
    )
    return Questions(
        tests=tests_of(args, is_embedded),
        pairs=None if pairs == NONE else load_pairs(pairs),
        guard=None if guard == NONE else load_dataset(guard),
        blind=blind,
        workers=args.workers,
    )


def _blind(args: argparse.Namespace) -> "BlindRequest | None":
    from trainers.pairs.diagnosis.blind import BlindRequest

    if (args.blind is None) != (args.other is None):
        raise ValueError("--blind names a folder of images and --other their features by another encoder; give both")
    if args.blind is None:
        return None
    if not args.blind.is_dir():
        raise FileNotFoundError(f"there is no folder of images {str(args.blind)!r}; check --blind")
    return BlindRequest(args.blind, args.other, args.top, args.hi, args.lo)


def _model(args: argparse.Namespace) -> "FrozenCLIP | AdaptedTowers":
    """The adapter, or the backbone that the options name."""
    import torch

    from trainers.cli.adapter.options import open_any
    from trainers.compute.precision import choose_threads

    if args.adapter is not None:
        if args.pretrained is not None:
            raise ValueError("--pretrained is of a backbone by its name, and an adapter knows its own; leave it out")
        return open_any(args)
    backbone = backbone_of(args)
    if backbone.device.type == "cpu":
        torch.set_num_threads(choose_threads(0, sum(t.numel() for t in backbone.model.parameters())))
    return backbone
