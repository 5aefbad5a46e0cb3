"""The result of a search: that of the refit, with the leaderboard in front."""

from dataclasses import dataclass, fields

from adaptkit import FitResult
from trainers.fit.auto.leaderboard import FoldLogits
from trainers.report.decision.leaderboard import Leaderboard


@dataclass(frozen=True, kw_only=True)
class AutoResult(FitResult):
    """A method that was chosen on held-out training images, trained on all of them, and tested once."""

    leaderboard: Leaderboard
    fold_logits: FoldLogits | None  # of the chosen method; None where nothing was held out, or they were not kept

    def summary(self) -> str:
        """Why it was chosen, and the result in a few lines for people."""
        return f"{self.leaderboard.decision}\n{super().summary()}"


def with_leaderboard(result: FitResult, leaderboard: Leaderboard, fold_logits: FoldLogits | None) -> AutoResult:
    """The result of a refit as that of a search."""
    known = {entry.name: getattr(result, entry.name) for entry in fields(FitResult)}
    return AutoResult(**known, leaderboard=leaderboard, fold_logits=fold_logits)
