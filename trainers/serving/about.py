"""What a served page says of its model: how it was chosen, what it promises and what texts gave.

All of it is of the model. Images that it was trained or tested on, and what is wrong with files, are not for clients.
"""

import json
from dataclasses import replace

from adaptkit import AdaptedCLIP
from trainers.report.decision.adapter import calibration_of
from trainers.report.decision.reading import Decision
from trainers.report.decision.sections import model_sections

NOTHING_KNOWN = Decision("")


def about(method: AdaptedCLIP, beside: Decision = NOTHING_KNOWN) -> str:
    """The part of a page as HTML; "" where nothing is known.

    Args:
        beside: what lies beside the adapter; nothing where it is no folder.
    """
    calibration = method.calibration
    facts = None if calibration is None else calibration_of(json.loads(calibration.to_json()))
    sections = model_sections(replace(beside, calibration=facts))
    if not sections:
        return ""
    return f'<details class="about"><summary>About this model</summary>{sections}</details>'
