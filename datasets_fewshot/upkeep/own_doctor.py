"""Examine the user's own data: what was found, what was left out, and whether they can be learnt from."""

from collections import Counter
from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.dataset import FewShotDataset
from datasets_fewshot.own.checked_images import check_images
from datasets_fewshot.own.image_table import AS_IT_IS, TableOptions
from datasets_fewshot.own.load import load_own_data
from datasets_fewshot.own.sources import find_source
from datasets_fewshot.own.usable import check_usable
from datasets_fewshot.splits.validation import NAMES_SHOWN
from datasets_fewshot.upkeep.doctor import Finding, Report


def examine_own(path: Path, options: TableOptions = AS_IT_IS, classnames: str | None = None) -> Report:
    """Examine a folder, a table or shards; nothing is written, and no split is drawn beside them.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
    """
    title = f"{path} (your own images)"
    try:
        source = find_source(user_path(path, "data"), options)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, ImportError) as error:
        return Report(title, (Finding("missing", str(error)),))
    images = source.found.images
    counts = Counter(image.classname for image in images)
    shown = ", ".join(f"{name} {counts[name]}" for name in source.found.classes[:NAMES_SHOWN])
    more = ", ..." if len(counts) > NAMES_SHOWN else ""
    findings = [Finding("ok", f"{len(images)} images of {len(counts)} classes: {shown}{more}")]
    findings += [Finding("ok", f"note: {note}") for note in source.found.notes]
    bad = check_images(source.found.image_root, [image.path for image in images]).bad
    if bad:
        text = f"{len(bad)} images cannot be read, such as {min(bad)!r}; repair or remove them, or give --skip-bad"
        findings.append(Finding("missing", text))
    try:
        dataset = load_own_data(path, classnames=classnames, skip_bad=True, keep_split=False, **vars(options))
        findings += _split(dataset, set(source.found.notes))
    except ValueError as error:
        findings.append(Finding("missing", str(error)))
    return Report(title, tuple(findings), ready=f"ready: adaptkit train METHOD --data {path}")


def _split(dataset: FewShotDataset, said: set[str]) -> list[Finding]:
    sizes = ", ".join(
        f"{len(items)} {part}" for part, items in zip(("train", "val", "test"), dataset.split, strict=True)
    )
    findings = [Finding("ok", f"{sizes} images")]
    notes = [note for note in dataset.notes if note not in said and "unreadable images" not in note]
    return findings + [Finding("ok", f"note: {note}") for note in (*notes, *check_usable(dataset))]
