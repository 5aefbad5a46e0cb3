"""The verb `adaptkit explain`: learnt words of an adapter, and the parts of an image that it looks at."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter, add_classes, open_adapter, shared_names

if TYPE_CHECKING:
    from PIL.Image import Image

    from adaptkit import AdaptedCLIP

OK = 0
NAMES_SHOWN = 10


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `explain` to a command's verbs."""
    parser = verbs.add_parser(
        "explain",
        help="show which words learnt tokens are near to, and what in an image speaks for a class",
        description="Print the words nearest to each learnt token and the classes of an image, and draw a map of the "
        "image: how far the log-odds of a class fall when 3 x 3 patches are covered (occlusion).",
    )
    add_adapter(parser)
    parser.add_argument("image", type=values.text, metavar="IMAGE", help="an image file")
    add_classes(parser)
    parser.add_argument("--of", type=values.text, metavar="CLASS", help="the class to map (default: the most probable)")
    parser.add_argument("--topk", type=values.count, default=5, help="classes and words to show (default: 5)")
    parser.add_argument(
        "--out", type=values.path, metavar="PNG", help="the map to write (default: IMAGE's name + .map.png)"
    )
    parser.set_defaults(run=_explain)


def _explain(args: argparse.Namespace) -> int:
    from adaptkit.contract.prediction import preprocess, read_image
    from adaptkit.deployment.explanation import draw_relevance, relevance
    from trainers.cli.adapter.predict import as_line

    picture = read_image(args.image)
    method = open_adapter(args, least=2)
    names = method.classes.classnames
    (prediction,) = method.predict(picture, args.topk)
    mapped = prediction.indices[0] if args.of is None else class_index(names, args.of)
    for line in word_lines(method, args.topk, mapped):
        print(line)
    print(as_line(args.image, prediction, shared_names(names)))
    for line in reason_lines(method, picture, args.topk):
        print(line)
    image = preprocess(method, [picture])[0]
    falls = relevance(method, image, mapped)
    out = args.out or Path(f"{Path(args.image).stem}.map.png")
    draw_relevance(method, image, falls).save(out)
    rows, columns = falls.shape
    print(
        f"wrote {out}: what speaks for {names[mapped]!r} is red, what speaks against it blue; covered, the strongest "
        f"of {rows} x {columns} patches takes {float(falls.max()):.2f} nats off its log-odds"
    )
    return OK


def reason_lines(method: "AdaptedCLIP", picture: "Image", topk: int) -> list[str]:
    """Of each of the best classes the parts of its score in words; nothing for a method whose scores have none."""
    from adaptkit.contract.prediction import preprocess
    from adaptkit.contract.reasons import GivesReasons

    if not isinstance(method, GivesReasons):
        return []
    (explained,) = method.reasons(method.consume(preprocess(method, [picture]).to(method.device)), topk)
    lines = []
    for found in explained:
        lines.append(f"{found.label}: score {found.score:.4f}, the sum of")
        lines += [f"  {part.contribution:+.4f}  {part.text} (cosine {part.cosine:.4f})" for part in found.parts]
    return lines


def class_index(names: Sequence[str], wanted: str) -> int:
    """The place of the class that `--of` names, or whose number it gives as "#3".

    Raises:
        ValueError: if there is no such class, or several have the name.
    """
    found = [index for index, name in enumerate(names) if name == wanted]
    if not found and wanted.startswith("#") and wanted[1:].isdecimal() and int(wanted[1:]) < len(names):
        return int(wanted[1:])
    if not found:
        more = " ..." if len(names) > NAMES_SHOWN else ""
        raise ValueError(
            f"--of {wanted!r} is no class of the adapter; its classes are {', '.join(names[:NAMES_SHOWN])}{more}"
        )
    if len(found) > 1:
        numbers = ", ".join(f"'#{index}'" for index in found)
        raise ValueError(f"--of {wanted!r} is the name of {len(found)} classes; give one of their numbers: {numbers}")
    return found[0]


def word_lines(method: "AdaptedCLIP", count: int, class_index: int) -> list[str]:
    """The nearest words of every learnt token, one token per line, or the reason why there are none."""
    from adaptkit.deployment.explanation import nearest_words, usual_distance

    found = nearest_words(method, count, class_index)
    if not found:
        return [f"{type(method).__name__} learns no words of prompts, so there are none to name"]
    lines = [
        f"nearest words of the learnt tokens, with distances (words lie {usual_distance(method.backbone):.3f} apart)"
    ]
    for entry in found:
        near = ", ".join(f"{word} {far:.3f}" for word, far in zip(entry.words, entry.distances, strict=True))
        lines.append(f"  token {entry.token + 1}: {near}")
    return lines
