"""The verbs `adaptkit fdt ...`: look at the meaning of finite discrete tokens, and compare FDT's variants."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter, add_labelled_images

if TYPE_CHECKING:
    from adaptkit import AdaptedCLIP

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `fdt` to a command's verbs."""
    fdt = verbs.add_parser("fdt", help="finite discrete tokens: what they stand for, and their ablations")
    own = fdt.add_subparsers(dest="fdt_verb", required=True, metavar="VERB")
    _add_show(own)
    _add_ablations(own)


def _add_show(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = verbs.add_parser(
        "show",
        help="a page and a picture of the images and words that activate tokens most",
        description="For some tokens of a method trained with FDT, the images and the words that activate them most: "
        "tokens.html, one file with everything inside, and tokens.png. ADAPTER may be the folder of a finished run.",
    )
    add_adapter(show)
    show.add_argument(
        "--pretrained", type=values.text, help="tag of the backbone's weights, where a run's record does not name it"
    )
    add_labelled_images(show)
    show.add_argument(
        "--tokens",
        type=values.wholes(0),
        metavar="N,N",
        help="tokens by number (default: those that both sides share most)",
    )
    show.add_argument("--count", type=values.count, default=12, help="tokens, where none are named (default: 12)")
    show.add_argument("--images", type=values.count, default=6, help="images per token (default: 6)")
    show.add_argument("--out", type=values.path, default=Path("tokens"), help="folder to write into (default: tokens)")
    show.set_defaults(run=_show)


def _add_ablations(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ablations = verbs.add_parser(
        "ablations",
        help="train every variant of FDT and write one table",
        description="Train FDT and its variants, base to novel: activations, pools, codebooks, their size and start, "
        "the weight of the grounded logits, the rank of the queries. Finished runs are reused.",
    )
    ablations.add_argument(
        "--method", type=values.text, default="zero_shot", help="that FDT stands around (default: zero_shot)"
    )
    ablations.add_argument(
        "--datasets", type=values.names, help="such as icons,fashion_mnist; all of the suite by default"
    )
    ablations.add_argument("--seeds", type=values.seeds, default=[1, 2, 3], help="default: 1,2,3")
    ablations.add_argument(
        "--variants", type=values.names, help="some of the variants by name, such as softmax,mean; all by default"
    )
    ablations.add_argument("--out", type=values.path, default=Path("runs"), help="folder for records (default: runs)")
    ablations.add_argument(
        "--results", type=values.path, help="where ablations.json and ablations.md go (default: the folder for records)"
    )
    ablations.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as OPTIM.EPOCHS 10")
    ablations.set_defaults(run=_ablations)


def _show(args: argparse.Namespace) -> int:
    from adaptkit.artefacts.atomic_file import replacing, write_text
    from trainers.cli.adapter.evaluate import labelled_data, part_of
    from trainers.studies.fdt.show import page, picture, token_cards

    dataset = labelled_data(args)
    items = part_of(dataset, args.part)
    try:
        cards = token_cards(
            _method(args), dataset, items, chosen=args.tokens or [], count=args.count, per_token=args.images
        )
    except TypeError as error:
        raise ValueError(f"{args.adapter}: {error}") from None
    title = f"Finite discrete tokens on {dataset.name}, {args.part}"
    write_text(args.out / "tokens.html", page(cards, title))
    with replacing(args.out / "tokens.png") as temporary:
        picture(cards).save(temporary, "PNG")
    print(f"wrote {args.out / 'tokens.html'} and {args.out / 'tokens.png'}: {len(cards)} tokens, {len(items)} images")
    return OK


def _method(args: argparse.Namespace) -> "AdaptedCLIP":
    """The method of an adapter, or of a finished run's folder."""
    from trainers.cli.adapter.options import open_adapter

    folder = Path(args.adapter)
    if not (folder / "record.json").is_file():
        return open_adapter(args)
    from adaptkit import load_backbone
    from adaptkit.backbone.devices import choose_device
    from trainers.runs.adapter import backbone_of_run, load_run, recorded_image_size
    from trainers.runs.records import read_record

    record = read_record(folder)
    device = choose_device(args.device)
    if args.backbone is not None:
        size = recorded_image_size(record)
        backbone = load_backbone(args.backbone, args.pretrained, args.checkpoint, device=device, image_size=size)
    else:
        backbone = backbone_of_run(
            record, str(folder), args.pretrained, args.checkpoint, device, trust_hub=args.trust_hub
        )
    return load_run(folder, backbone)[0].to(backbone.device)


def _ablations(args: argparse.Namespace) -> int:
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.studies.fdt.ablations import run_ablations

    words = ["SEEDS", str(args.seeds)]
    if args.datasets:
        words += ["DATASETS", f"[{','.join(args.datasets)}]"]
    results = args.results or args.out
    table = run_ablations(
        args.method, [*words, *args.overrides], args.variants, args.out, cache_folder() / "features", results
    )
    print(table)
    print(f"written to {results / 'ablations.md'} and {results / 'ablations.json'}")
    return OK
