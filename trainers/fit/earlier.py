"""What an earlier training left in an adapter's folder that the next one may not write over."""

from pathlib import Path

from trainers.evaluation.certainty import RELIABILITY_FILE
from trainers.evaluation.judgement_files import CLASSES_FILE, MATRIX_FILE, PICTURE_FILE
from trainers.fit.auto.leaderboard import JSON_FILE, LOGITS_FILE, TABLE_FILE
from trainers.fit.calibrating import MARKS_FILE
from trainers.fit.multi_label.report import LABELS_FILE

REPORTS = (
    *(CLASSES_FILE, MATRIX_FILE, PICTURE_FILE, RELIABILITY_FILE),  # of one class for each image
    LABELS_FILE,  # of several
    *(JSON_FILE, TABLE_FILE, LOGITS_FILE),  # of a search
    MARKS_FILE,
)


def forget_earlier(folder: Path) -> None:
    """Remove what would seem to be said of the adapter that is saved next: reports, and which images it has learnt.

    Call it before that adapter is saved: one that is killed in between says nothing of its images, and nothing wrong.
    """
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)
