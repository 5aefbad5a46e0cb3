"""Every registered method is calibrated, saved, loaded, and answers with the same probabilities and sets."""

import pytest
import torch

import adaptkit
from adaptkit import create_method, list_methods
from adaptkit.artefacts.saving import learnt_sha256
from adaptkit.calibration.calibration import fit_calibration
from tests.conftest import CLASSES

ASKED = (
    {},
    {"coverage": 0.7},
    {"coverage": 0.7, "sets": "aps"},
    {"coverage": 0.7, "sets": "aps_randomised"},
    {"coverage": 0.5, "coverage_of": "classes"},
)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.mark.filterwarnings("ignore:.*looks at .* views of a picture:UserWarning")
@pytest.mark.filterwarnings("ignore:.*held-out images of a class:UserWarning")
@pytest.mark.filterwarnings("ignore:the file of descriptors says nothing:UserWarning")
@pytest.mark.parametrize("name", list_methods())
def test_it_is_calibrated_saved_and_loaded_to_the_same_sets(name, tiny_clip, images, tmp_path):
    method = create_method(name, tiny_clip, CLASSES)
    before = method.predict(images)
    labels = torch.tensor([prediction.indices[0] for prediction in before])
    labels[::3] = (labels[::3] + 1) % len(CLASSES)  # a third of the answers is wrong
    logits = torch.tensor([prediction.probabilities for prediction in before], dtype=torch.float64).log()
    places = torch.tensor([prediction.indices for prediction in before])
    logits = torch.empty_like(logits).scatter_(1, places, logits)  # softmax keeps logits but for a constant
    found = fit_calibration(logits.clamp(min=-700), labels, method.classes, "noise")
    method.calibration = found.for_learnt(learnt_sha256(method))
    loaded = adaptkit.load(method.save_pretrained(tmp_path / "adapter"), tiny_clip)
    assert loaded.calibration == method.calibration
    for asked in ASKED:
        answers = method.predict(images, **asked)
        assert answers == loaded.predict(images, **asked)
        assert all(answer.calibrated for answer in answers)
        assert [answer.indices for answer in answers] == [answer.indices for answer in before], "an order changed"
        if asked:
            assert all(answer.members is not None for answer in answers)


@pytest.mark.parametrize("name", ["coop", "linear_probe"])
def test_one_that_has_learnt_since_is_saved_without_its_calibration(name, tiny_clip, tmp_path):
    method = create_method(name, tiny_clip, CLASSES)
    found = fit_calibration(torch.randn(20, len(CLASSES)), torch.arange(20) % len(CLASSES), method.classes, "noise")
    method.calibration = found.for_learnt(learnt_sha256(method))
    method.save_pretrained(tmp_path)
    assert (tmp_path / "calibration.json").is_file()
    for parameter in method.learnt_parameters().values():
        parameter.data.add_(0.1)
    with pytest.warns(UserWarning, match="has learnt, or got other classes, since it was calibrated"):
        method.save_pretrained(tmp_path)
    assert not (tmp_path / "calibration.json").exists()


def test_a_calibration_of_another_adapter_is_left_out_with_one_warning(tiny_clip, tmp_path):
    for name in ("one", "two"):
        method = create_method("coop", tiny_clip, CLASSES)
        torch.nn.init.normal_(next(iter(method.learnt_parameters().values())))
        found = fit_calibration(torch.randn(20, len(CLASSES)), torch.arange(20) % len(CLASSES), method.classes, "noise")
        method.calibration = found.for_learnt(learnt_sha256(method))
        method.save_pretrained(tmp_path / name)
    (tmp_path / "one" / "calibration.json").replace(tmp_path / "two" / "calibration.json")
    with pytest.warns(UserWarning, match="fitted for an adapter that has learnt something else") as said:
        assert adaptkit.load(tmp_path / "two", tiny_clip).calibration is None
    assert len(said) == 1
    (tmp_path / "two" / "calibration.json").write_text("{")
    with pytest.raises(adaptkit.ArtefactError, match=r"the calibration.json of .* is damaged"):
        adaptkit.load(tmp_path / "two", tiny_clip)
