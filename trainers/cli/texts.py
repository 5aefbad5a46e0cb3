"""The verb `adaptkit texts train`: a classifier that learns on texts, or with a few images, and answers on images."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_labelled_images
from trainers.cli.given_backbone import add_backbone, backbone_of
from trainers.cli.own_data import add_table_options

if TYPE_CHECKING:
    from torch import Tensor

    from adaptkit import FrozenCLIP
    from datasets_fewshot import FewShotDataset, Item

OK = 0
ROWS = 128  # sentences or images that are encoded at a time
TEMPLATES = ("a photo of a {}.", "an icon of a {}.", "a drawing of a {}.", "a picture of a {}.", "{}")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `texts` to a command's verbs."""
    texts = verbs.add_parser("texts", help="heads that learn on texts and answer on images")
    own = texts.add_subparsers(dest="texts_verb", required=True, metavar="VERB")
    train = own.add_parser(
        "train",
        help="learn classes from sentences and descriptors, test them on images, and save the head",
        description="Learn the classes of a data set from sentences about them (CLOSE, arXiv:2211.09778), test the "
        "head beside zero-shot on the same templates, and save it. With --shots some training images learn, too.",
    )
    add_labelled_images(train)
    add_table_options(train)
    train.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the head")
    train.add_argument(
        "--descriptors",
        type=values.path,
        action="append",
        default=[],
        metavar="FILE",
        help="descriptors of the classes, see `adaptkit descriptors`; may be repeated",
    )
    train.add_argument(
        "--template",
        type=values.text,
        action="append",
        metavar="TEXT",
        help=f"a sentence with {{}}; may be repeated (default: {len(TEMPLATES)} short ones)",
    )
    train.add_argument(
        "--sigma", type=values.number(least=0), metavar="X", help="deviation of the noise (default: by the width)"
    )
    train.add_argument("--shots", type=values.count, metavar="N", help="images of a class that learn, too")
    train.add_argument("--hidden", type=values.count, metavar="N", help="width of a hidden layer (default: none)")
    train.add_argument("--epochs", type=values.count, default=100, help="(default: 100)")
    train.add_argument("--lr", type=values.number(above=0), default=1e-2, help="(default: 0.01)")
    train.add_argument("--seed", type=values.seed, default=1, help="of drawn images, noise and order (default: 1)")
    add_backbone(train)
    train.add_argument("--json", action="store_true", help="the numbers as JSON")
    train.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    import torch

    from adaptkit import ClassSet, TrainingFacts, class_weights, create_head
    from adaptkit.heads.close.training_texts import class_texts
    from adaptkit.texts.descriptions import read_descriptions
    from datasets_fewshot import draw_few_shot
    from trainers.cli.adapter.evaluate import labelled_data, part_of
    from trainers.compute.seeds import seeded
    from trainers.fit.texts import TextTraining, train_on_texts

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {str(args.out)!r} is a file; give a folder")
    dataset = labelled_data(args)
    tested = part_of(dataset, args.part)
    classes = ClassSet(dataset.classnames, tuple(args.template or TEMPLATES))
    described = read_descriptions(*args.descriptors) if args.descriptors else None
    sentences, labels = class_texts(classes, described)
    backbone = backbone_of(args)
    shown = draw_few_shot(dataset.split, args.shots, args.seed).train if args.shots else ()
    if args.shots and args.part in ("train", "all"):
        raise ValueError(f"--part {args.part} tests on the images that --shots learns from; leave one of them out")
    with seeded(args.seed, backbone.device):
        head = create_head("close", backbone, classnames=dataset.classnames, sigma=args.sigma, hidden=args.hidden or 0)
    losses = train_on_texts(
        head,
        _texts(backbone, sentences),
        labels,
        TextTraining(epochs=args.epochs, lr=args.lr, seed=args.seed),
        _images(backbone, dataset, shown) if shown else None,
        torch.tensor([item.label for item in shown]) if shown else None,
    )
    images, right = _images(backbone, dataset, tested), torch.tensor([item.label for item in tested])
    with torch.no_grad():
        accuracy = _accuracy(head.outputs(images), right)
        zero_shot = _accuracy(backbone.logits(images, class_weights(backbone, classes)), right)
    note = (
        f"Accuracy {accuracy:.1f} % on {len(tested)} images ({args.part}); zero-shot on the same templates "
        f"{zero_shot:.1f} %. Learnt on {len(sentences)} texts and {len(shown)} images."
    )
    notes = (note, *dataset.notes)
    facts = TrainingFacts(dataset.name, args.shots or 0, seed=args.seed, epochs=args.epochs, notes=notes)
    head.save_pretrained(args.out, facts)
    if args.json:
        content = {"accuracy": accuracy, "zero_shot": zero_shot, "images": len(tested)}
        counts = {"texts": len(sentences), "training_images": len(shown), "loss": losses[-1]}
        print(json.dumps({**content, **counts}, indent=1))
        return OK
    print(note)
    print(f"wrote {args.out}: `adaptkit predict {args.out} IMAGE` classifies images")
    return OK


def _texts(backbone: "FrozenCLIP", sentences: list[str]) -> "Tensor":
    """Features (N, D) of sentences; those that are too long are cut, and a warning counts them."""
    import torch

    from adaptkit.layers.image_texts import fit_texts

    fitted = fit_texts(sentences, backbone.tokenizer)
    with torch.no_grad():
        return torch.cat([backbone.encode_text(fitted[start : start + ROWS]) for start in range(0, len(fitted), ROWS)])


def _images(backbone: "FrozenCLIP", dataset: "FewShotDataset", items: "Sequence[Item]") -> "Tensor":
    """Features (M, D) of images as they are."""
    import torch

    from trainers.feeding.batches import evaluation_batches

    batches = evaluation_batches(dataset, items, backbone.preprocess_cfg, ROWS)
    with torch.no_grad():
        return torch.cat([backbone.encode_image(images.to(backbone.device)) for images, _ in batches])


def _accuracy(logits: "Tensor", labels: "Tensor") -> float:
    """The share of right answers in percent."""
    return 100 * float((logits.argmax(dim=1).cpu() == labels).float().mean())
