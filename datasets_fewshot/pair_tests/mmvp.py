"""Read MMVP-VLM: Questions.csv and numbered images in a folder for each of nine visual patterns.

Tong et al., "Eyes Wide Shut? Exploring the Visual Shortcomings of Multimodal LLMs", arXiv:2401.06209. Two rows in a row
are a pair, and the pattern of a pair is told by its place, as in the released evaluation; a note says where the column
disagrees. The folder of the images has several names among the copies that go about, so any folder is looked through.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets_fewshot.own.image_tree import walk_images
from datasets_fewshot.own.table_text import read_lines, split_cells
from datasets_fewshot.pair_tests.pair_tests import PairTests
from datasets_fewshot.pair_tests.placing import WrittenItem, placed_tests
from datasets_fewshot.splits.validation import SplitError

QUESTIONS = "questions.csv"  # in any case of letters
WHAT = "list of MMVP's statements"
TEMPLATE = "a photo of {}"
PAIRS = 15  # of a pattern
PATTERNS = (
    "orientation and direction",
    "presence of specific features",
    "state and condition",
    "quantity and count",
    "positional and relational context",
    "colour and appearance",
    "structural characteristics",
    "texts",
    "viewpoint and perspective",
)
ROWS = 2 * PAIRS * len(PATTERNS)
FORM = "a heading, and rows of a number, a pattern and a statement"

Row = tuple[int, str, str]  # number, pattern, statement


def find_questions(folder: Path) -> Path | None:
    """Questions.csv in a folder or below it; None where there is none.

    Raises:
        SplitError: if there are several.
    """
    found = sorted(path for path in folder.rglob("*.[cC][sS][vV]") if path.name.lower() == QUESTIONS)
    if len(found) > 1:
        raise SplitError(f"{str(folder)!r} holds {found[0]} and {found[1]}; name the folder of one of them")
    return found[0] if found else None


def read_mmvp(questions: Path, images: Path) -> PairTests:
    """Read the statements and find the images.

    Raises:
        SplitError: if there are not 270 rows numbered from 1 to 270, or an image is not there.
    """
    rows = _rows(questions)
    paths = _images(rows, images)
    written, elsewhere = [], 0
    for place in range(0, ROWS, 2):
        first, second = rows[place], rows[place + 1]
        pattern = PATTERNS[place // (2 * PAIRS)]
        elsewhere += first[1] != second[1] or first[1] != rows[place - place % (2 * PAIRS)][1]
        texts = tuple(TEMPLATE.format(row[2]) for row in (first, second))
        names = (paths[first[0]], paths[second[0]])
        where = f"{questions.name}: numbers {first[0]} and {second[0]}"
        written.append(WrittenItem(pattern, "mmvp", names, texts, (), where))
    note = (
        f"{elsewhere} pairs name another pattern than their place in the file says; the place counts, as in MMVP's code"
    )
    return placed_tests("MMVP-VLM", images, written, "refused", (note,) if elsewhere else ())


def _rows(questions: Path) -> list[Row]:
    cells = list(split_cells(read_lines(questions, WHAT), ",", questions))[1:]
    if len(cells) != ROWS:
        raise SplitError(
            f"{questions} has {len(cells)} rows below its heading; MMVP-VLM has {ROWS}, {PAIRS} pairs of each of "
            f"{len(PATTERNS)} patterns, and other sizes would be scored wrongly: give the whole file, or write pairs "
            "of your own as lines of JSON"
        )
    rows = []
    for number, (line, row) in enumerate(cells, start=1):
        if len(row) < 3 or row[0] != str(number) or not row[2]:
            raise SplitError(f"{questions}: line {line} is {str(row)[:80]}; expected number {number} in {FORM}")
        rows.append((number, row[1], row[2]))
    return rows


def _images(rows: Sequence[Row], root: Path) -> Mapping[int, str]:
    """Number -> the image of that name, in the folder of its pattern where several have it."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in walk_images(root):
        found[path.stem].append(path.relative_to(root))
    paths = {}
    for place, (number, _, _) in enumerate(rows):
        pattern = rows[place - place % 2][1]  # both images of a pair lie in the folder that its first row names
        several = found.get(str(number), [])
        own = [path for path in several if path.parent.name.casefold() == pattern.casefold()] or several
        if len(own) != 1:
            what = f"{len(own)} images, such as {own[0]}" if own else "no image"
            raise SplitError(
                f"{str(root)!r} has {what} with the name {number}; expected one in a folder {pattern!r}, as in MMVP_VLM"
            )
        paths[number] = own[0].as_posix()
    return paths
