"""Load a pair test: the embedded one, or a path to a published or an own one."""

from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.mini.suite import FOLDER
from datasets_fewshot.pair_tests.lines import read_lines_of_json, read_triples
from datasets_fewshot.pair_tests.mmvp import QUESTIONS, find_questions, read_mmvp
from datasets_fewshot.pair_tests.pair_tests import PairTests
from datasets_fewshot.pair_tests.sugarcrepe import find_subsets, read_json_tests
from datasets_fewshot.splits.validation import SplitError

__all__ = ["load_pair_tests"]

EMBEDDED = "mini_pair_tests"
FILE = FOLDER / "pair_tests.jsonl"


def load_pair_tests(source: str | Path, images: str | Path | None = None) -> PairTests:
    """Load images with true and false texts.

    Args:
        source: "mini_pair_tests", the embedded test; or a path: the folder of MMVP-VLM with its Questions.csv; a folder
            with SugarCrepe++'s swap_obj.json and so on, or one such .json, or one of SugarCrepe's or VL-CheckList's; a
            .jsonl of your own; or a .csv or .tsv with columns image, true and false.
        images: the folder that the images lie below; None for the folder of the file.

    Raises:
        FileNotFoundError: if there is nothing at a path.
        SplitError: if it holds no pair test, a published one has another size, or images are missing.

    Example:
        ```python
        from datasets_fewshot.pair_tests.load import load_pair_tests

        tests = load_pair_tests("mini_pair_tests")
        print({subset.name: len(subset.items) for subset in tests.subsets})
        ```
    """
    if str(source) == EMBEDDED:
        return read_lines_of_json(FILE, Path(FOLDER / "images"), EMBEDDED)
    path = user_path(source, "pair test")
    root = None if images is None else user_path(images, "folder of images")
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"there is no folder of images {str(root)!r}; check --images")
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {str(path)!r}; give a folder or a file, or {EMBEDDED}")
    if path.is_dir():
        return _of_folder(path, root or path)
    suffix, root = path.suffix.lower(), root or path.parent
    if path.name.lower() == QUESTIONS:
        return read_mmvp(path, root)
    if suffix == ".jsonl":
        return read_lines_of_json(path, root)
    if suffix in (".csv", ".tsv"):
        return read_triples(path, root)
    if suffix == ".json":
        return read_json_tests([path], path.stem, root)
    raise SplitError(f"{str(path)!r} is no pair test; give a .json, .jsonl, .csv or .tsv, or a folder")


def _of_folder(folder: Path, images: Path) -> PairTests:
    if files := find_subsets(folder):
        return read_json_tests(files, "SugarCrepe++", images)
    if (questions := find_questions(folder)) is not None:
        return read_mmvp(questions, images)
    raise SplitError(
        f"{str(folder)!r} has neither Questions.csv (MMVP-VLM) nor swap_obj.json and the like (SugarCrepe++); name the "
        "file of a test"
    )
