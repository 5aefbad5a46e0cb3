"""The verbs `adaptkit languages check|eval|train`: class names in other languages, and adapters of the text tower."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_labelled_images
from trainers.cli.given_backbone import add_backbone, backbone_of
from trainers.cli.own_data import add_table_options

if TYPE_CHECKING:
    from datasets_fewshot.languages import MultilingualLabels

OK = 0
SETTING_WORDS = {"label": "label", "english": "english_templates", "translated": "translated_templates"}
KINDS = ("lora", "bottleneck", "embedding", "projection")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `languages` to a command's verbs."""
    languages = verbs.add_parser("languages", help="class names in other languages, and text towers that learn one")
    own = languages.add_subparsers(dest="languages_verb", required=True, metavar="VERB")
    _add_check(own)
    _add_eval(own)
    _add_train(own)


def _add_check(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = verbs.add_parser(
        "check",
        help="what files of class names in other languages hold: classes, shared names, cut names, templates",
    )
    _add_labels(check, required=True)
    add_backbone(check)
    check.add_argument("--json", action="store_true", help="the numbers as JSON")
    check.set_defaults(run=_check)


def _add_eval(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = verbs.add_parser(
        "eval",
        help="zero-shot accuracy per language, beside English on the same classes, and chance",
        description="Zero-shot accuracy with class names of other languages. A language is tested on the images of the "
        "classes that it names; the gap is to English on the same classes and images.",
    )
    add_labelled_images(evaluate)
    add_table_options(evaluate)
    _add_labels(evaluate, required=False)
    evaluate.add_argument(
        "--settings",
        type=values.names,
        default=["label"],
        metavar="A,B",
        help="label: the name alone; english: in English templates; translated: in the language's own (default: label)",
    )
    evaluate.add_argument(
        "--template",
        type=values.text,
        action="append",
        metavar="TEXT",
        help="an English template with {}; may be repeated (default: those of the data set)",
    )
    evaluate.add_argument("--adapter", type=values.text, metavar="FOLDER", help="what `languages train` saved")
    add_backbone(evaluate)
    evaluate.add_argument("--json", action="store_true", help="the numbers as JSON")
    evaluate.set_defaults(run=_eval)


def _add_train(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = verbs.add_parser(
        "train",
        help="adapt the text tower to a language, and save the head",
        description="Adapt the text tower to a language by pairs of texts; the image tower stays as it is. FILE has "
        "English, a tab and the translation in every line.",
    )
    train.add_argument("pairs", type=values.path_as_text, metavar="FILE", help="a table of pairs of texts")
    train.add_argument("--language", type=values.text, required=True, metavar="CODE", help="such as de")
    train.add_argument("--kind", choices=KINDS, default="lora", help="what learns (default: lora)")
    train.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the head")
    train.add_argument("--epochs", type=values.count, default=10, help="(default: 10)")
    train.add_argument("--lr", type=values.number(above=0), help="(default: 0.0001 for lora, 0.0005 for others)")
    train.add_argument("--batch-size", type=values.count, default=256, help="(default: 256)")
    train.add_argument("--seed", type=values.seed, default=1, help="of the start and the order (default: 1)")
    add_backbone(train)
    train.set_defaults(run=_train)


def _add_labels(parser: argparse.ArgumentParser, required: bool) -> None:
    words = "" if required else "; without it, names of the embedded emoji"
    parser.add_argument(
        "--labels",
        type=values.path_as_text,
        required=required,
        metavar="PLACE",
        help=f"a folder of labels.<lang>.tsv, or a JSON file as babel_imagenet.json{words}",
    )
    parser.add_argument(
        "--prompts", type=values.path_as_text, metavar="FILE", help="templates {LANG: [...]} beside such a JSON file"
    )
    parser.add_argument(
        "--languages", type=values.names, metavar="A,B", help="codes of the languages (default: all that there are)"
    )


def _labels(args: argparse.Namespace, dataset: str = "") -> "MultilingualLabels":
    """The labels that the options name, or those of the embedded emoji."""
    from datasets_fewshot.languages import MultilingualLabels, embedded_labels

    if args.labels is None and args.prompts is not None:
        raise ValueError("--prompts goes with the JSON file of --labels; give both, or neither")
    found = MultilingualLabels.load(args.labels, args.prompts) if args.labels else embedded_labels(dataset)
    return found.chosen(args.languages) if args.languages else found


def _check(args: argparse.Namespace) -> int:
    from adaptkit.texts.babel import TextReader
    from trainers.evaluation.multilingual import MANY_CUT

    labels = _labels(args)
    reader = TextReader(backbone_of(args))
    cut = {code: sum(any(reader.cut(names)) for names in own.names) for code, own in labels.items()}
    if args.json:
        rows = [
            {
                "language": code,
                "classes": len(own),
                "templates": len(own.templates),
                "cut": cut[code],
                "shared_names": own.shared_names,
            }
            for code, own in labels.items()
        ]
        print(
            json.dumps({"languages": rows, "unused_templates": labels.unused_templates}, ensure_ascii=False, indent=1)
        )
        return OK
    for code, own in labels.items():
        print(f"{code}: {len(own)} classes, {len(own.templates)} templates, {cut[code]} names cut")
        for line in _remarks(own.shared_names, cut[code] > MANY_CUT * len(own), bool(own.templates)):
            print(f"  {line}")
    if labels.unused_templates:
        print(f"templates without labels: {', '.join(labels.unused_templates)}")
    return OK


def _remarks(shared: "dict[str, tuple[int, ...]]", is_cut: bool, has_templates: bool) -> Iterator[str]:
    for name, indices in shared.items():
        yield f"classes {', '.join(map(str, indices))} are all {name!r}: an image of any of them counts as right"
    if is_cut:
        yield "many names are longer than the context and lose their end; take a backbone that knows the language"
    if not has_templates:
        yield "no templates of its own, so the setting `translated` leaves it out"


def _eval(args: argparse.Namespace) -> int:
    import torch

    from adaptkit import load_head, templates_for
    from adaptkit.texts.babel import Babel, TextReader
    from trainers.cli.adapter.evaluate import labelled_data, part_of
    from trainers.evaluation.multilingual import as_table, english_labels, eval_languages, notes
    from trainers.feeding.batches import evaluation_batches
    from trainers.feeding.feeds import IMAGE_EVAL_BATCH

    unknown = [word for word in args.settings if word not in SETTING_WORDS]
    if unknown:
        raise ValueError(f"--settings has {unknown[0]!r}; take some of {', '.join(SETTING_WORDS)}")
    dataset = labelled_data(args)
    items = part_of(dataset, args.part)
    labels = _labels(args, dataset.name)
    backbone = backbone_of(args)
    reader = TextReader(backbone)
    if args.adapter is not None:
        head = load_head(args.adapter, backbone)
        if not isinstance(head, Babel):
            raise ValueError(f"{args.adapter} adapts no text tower to a language; `adaptkit languages train` makes one")
        reader = head.reader
    batches = evaluation_batches(dataset, items, backbone.preprocess_cfg, IMAGE_EVAL_BATCH, 0)
    with torch.no_grad():
        features = torch.cat([backbone.encode_image(images.to(backbone.device)) for images, _ in batches])
    table = eval_languages(
        reader.encode,
        features,
        torch.tensor([item.label for item in items]),
        labels,
        english_labels(dataset.classnames, args.template or templates_for(dataset.name)),
        [SETTING_WORDS[word] for word in args.settings],  # type: ignore[misc]
        read=reader.read,
        cut=reader.cut,
    )
    if args.json:
        scores = [
            {**asdict(score), "gap": score.gap, "chance": score.chance, "group": score.group} for score in table.scores
        ]
        print(json.dumps({"dataset": dataset.name, "scores": scores, "left_out": table.left_out}, indent=1))
        return OK
    print(as_table(table))
    for note in notes(table):
        print(f"note: {note}")
    return OK


def _train(args: argparse.Namespace) -> int:
    from adaptkit import TrainingFacts, create_head
    from adaptkit.texts.babel import Babel
    from adaptkit.texts.babel.head import token_ids
    from datasets_fewshot.languages.pairs import read_text_pairs
    from trainers.compute.seeds import seeded
    from trainers.evaluation.multilingual import MANY_CUT
    from trainers.fit.languages import LanguageTraining, train_language

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {str(args.out)!r} is a file; give a folder")
    pairs = read_text_pairs(args.pairs)
    settings = LanguageTraining(args.epochs, args.lr, args.batch_size, seed=args.seed)
    backbone = backbone_of(args)
    tokens = token_ids(backbone, [translated for _, translated in pairs]) if args.kind == "embedding" else ()
    with seeded(args.seed, backbone.device):
        head = create_head("babel", backbone, language=args.language, kind=args.kind, tokens=tokens)
    assert isinstance(head, Babel)
    log = train_language(head, pairs, settings)
    facts = TrainingFacts(
        dataset=f"{len(pairs)} pairs of texts",
        shots=0,
        seed=args.seed,
        epochs=args.epochs,
        notes=(f"Language {args.language}; {log.drift.sentence}.",),
    )
    head.save_pretrained(args.out, facts)
    print(f"{len(pairs)} pairs, loss {log.losses[0]:.3f} in the first epoch and {log.losses[-1]:.3f} in the last")
    print(log.drift.sentence)
    if log.drift.is_alarming:
        print("adaptkit: warning: English has drifted", file=sys.stderr)
    if log.cut > MANY_CUT:
        print(
            f"adaptkit: warning: {100 * log.cut:.0f} % of the translations are longer than the context and lose their "
            "end; take a backbone whose tokenizer knows the language",
            file=sys.stderr,
        )
    print(f"wrote {args.out}: `adaptkit languages eval --adapter {args.out}` tests it")
    return OK
