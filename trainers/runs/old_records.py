"""Records of earlier versions, as this one reads them. docs/records.md says what changed from each to the next."""

OLD_VERSIONS = (1, 2, 3, 4)
METRICS = ("accuracy", "ece", "nll")  # that stood beside the other fields of a score up to version 2


def as_version_5(content: dict) -> dict:
    """The content of a record of any version, in the form of version 5; a later one is left as it is."""
    if content["schema_version"] == 1:
        content = _as_version_2(content)
    if content["schema_version"] == 2:
        content = _from_version_2(content)
    if content["schema_version"] == 3:
        content = _from_version_3(content)
    return _from_version_4(content) if content["schema_version"] == 4 else content


def _from_version_4(content: dict) -> dict:
    """Version 4 trained every run on its own."""
    return {**content, "schema_version": 5, "side_by_side": 1}


def _from_version_3(content: dict) -> dict:
    """Version 3 knows no method that adapts to test images."""
    return {**content, "schema_version": 4, "test_time": None}


def _as_version_2(content: dict) -> dict:
    """Version 1 says nothing of bins of confidence, and of where the weights came from."""
    scores = [{**score, "bins": []} for score in content["scores"]]
    return {**content, "schema_version": 2, "pretrained": "", "scores": scores}


def _from_version_2(content: dict) -> dict:
    """Version 2 knows classification alone, and counts its main metric among the fields of a score."""
    scores = []
    for score in content["scores"]:
        rest = {key: value for key, value in score.items() if key not in METRICS}
        scores.append({**rest, "metrics": {name: score[name] for name in METRICS}})
    return {**content, "schema_version": 3, "metric": "accuracy", "scores": scores}
