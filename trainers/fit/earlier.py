"""What an earlier training left in an adapter's folder that the next one may not write over."""

from pathlib import Path

from trainers.evaluation.judgement_files import CLASSES_FILE, MATRIX_FILE, PICTURE_FILE, RELIABILITY_FILE
from trainers.fit.calibrating import MARKS_FILE
from trainers.fit.multi_label.report import LABELS_FILE
from trainers.report.decision.leaderboard import SEARCH_FILES

REPORTS = (
    *(CLASSES_FILE, MATRIX_FILE, PICTURE_FILE, RELIABILITY_FILE),  # of one class for each image
    LABELS_FILE,  # of several
    *SEARCH_FILES,
    MARKS_FILE,
)


def forget_earlier(folder: Path) -> None:
    """Remove what would seem to be said of the adapter that is saved next: reports, and which images it has learnt.

    Call it before that adapter is saved: one that is killed in between says nothing of its images, and nothing wrong.
    """
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)
