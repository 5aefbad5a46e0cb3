"""Every verb on bad files: one line of error, exit code 2, no trace, no hang, and nothing left behind."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import adaptkit
import adaptkit.backbone.named_in_file
import trainers.bench.plan
from adaptkit import create_head, create_method
from adaptkit.artefacts.files import CALIBRATION_FILE
from adaptkit.backbone.weights_source import WeightsSource
from tests.helpers.cases import for_every
from tests.helpers.hostile import FIRST_KINDS, KINDS, exit_code, problem, put
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.fit.calibrating import MARKS_FILE
from trainers.retrieval.gallery import build_gallery
from trainers.retrieval.sources import read_entries
from trainers.retrieval.towers import PairTowers

INSIDE = {"CALIBRATED": CALIBRATION_FILE, "MARKED": MARKS_FILE}  # words for adapters with a bad file in them
QUICK = ["--shots", "1", "--device", "cpu"]
BRIEF = ["--stage2", "none", "--epochs", "1", "--hidden", "8"]
ASKED = ["--pairs", "none", "--guard", "none", "--page", "OUT"]
# Slot -> the words of a command; FILE is the bad one, DATA a good folder of images, ADAPTER a good adapter, INDEX a
# good index, LABELS a good list of names in a language, HEAD a good head of sentences, CALIBRATED and MARKED adapters
# with the bad file as calibration.json and as training_images.json, OUT a path that does not exist before, and must not
# exist after an error.
SLOTS: dict[str, Sequence[str]] = {
    "bench config": ("bench", "--config", "FILE", "--dry-run"),
    "bench data": ("bench", "--data", "FILE", "--dry-run", *QUICK, "--out", "OUT"),
    "bench classnames": ("bench", "--data", "DATA", "--classnames", "FILE", "--dry-run", *QUICK, "--out", "OUT"),
    "bench split": ("bench", "--data", "DATA", "--split", "FILE", "--dry-run", *QUICK, "--out", "OUT"),
    "bench root": ("bench", "--suite", "paper", "--datasets", "dtd", "--root", "FILE", "--dry-run", "--out", "OUT"),
    "bench architecture": ("bench", "--wrap", "das", "--architecture", "FILE", "--dry-run", "--out", "OUT"),
    "train data": ("train", "zero_shot", "--data", "FILE", "--out", "OUT", "--device", "cpu"),
    "train table": ("train", "zero_shot", "--data", "FILE", "--out", "OUT", "--device", "cpu"),
    "train auto": ("train", "auto", "--data", "FILE", "--out", "OUT", "--device", "cpu", "--budget", "9steps"),
    "train calibrated": ("train", "zero_shot", "--data", "FILE", "--calibrate", "--out", "OUT", "--device", "cpu"),
    "train described": ("train", "zero_shot", "--data", "DATA", "--describe", "FILE", "--out", "OUT"),
    "train described in json": ("train", "coop", "--data", "DATA", "--describe", "FILE", "--out", "OUT"),
    "train described in a table": ("train", "coop", "--data", "DATA", "--describe", "FILE", "--out", "OUT"),
    "suggest adapter": ("suggest", "FILE", "--data", "DATA", "--out", "OUT"),
    "suggest data": ("suggest", "ADAPTER", "--data", "FILE", "--out", "OUT"),
    "suggest classnames": ("suggest", "ADAPTER", "--data", "DATA", "--classnames", "FILE", "--out", "OUT"),
    "suggest split": ("suggest", "ADAPTER", "--data", "DATA", "--split", "FILE", "--out", "OUT"),
    "suggest unlabelled": ("suggest", "ADAPTER", "--data", "DATA", "--unlabelled", "FILE", "--out", "OUT"),
    "suggest out": ("suggest", "ADAPTER", "--data", "DATA", "--out", "FILE", "OPTIM.STEPS", "1"),
    "predict adapter": ("predict", "FILE", "IMAGE"),
    "predict image": ("predict", "ADAPTER", "FILE"),
    "predict calibration": ("predict", "CALIBRATED", "IMAGE"),
    "eval adapter": ("eval", "FILE", "--data", "DATA"),
    "eval data": ("eval", "ADAPTER", "--data", "FILE"),
    "eval classnames": ("eval", "ADAPTER", "--data", "DATA", "--classnames", "FILE"),
    "calibrate adapter": ("calibrate", "FILE", "--data", "DATA"),
    "calibrate data": ("calibrate", "ADAPTER", "--data", "FILE"),
    "calibrate classnames": ("calibrate", "ADAPTER", "--data", "DATA", "--classnames", "FILE"),
    "calibrate marks": ("calibrate", "MARKED", "--data", "DATA"),
    "explain adapter": ("explain", "FILE", "IMAGE", "--out", "OUT"),
    "explain image": ("explain", "ADAPTER", "FILE", "--out", "OUT"),
    "export adapter": ("export", "FILE", "--out", "OUT"),
    "serve adapter": ("serve", "FILE"),
    "save run": ("save", "FILE", "--out", "OUT"),
    "import checkpoint": ("import-checkpoint", "FILE", "--classes", "a,b", "--out", "OUT"),
    "import names": ("import-checkpoint", "IMAGE", "--classnames", "FILE", "--out", "OUT"),
    "data list": ("data", "list", "--root", "FILE"),
    "data doctor": ("data", "doctor", "dtd", "--root", "FILE"),
    "pairs table": ("pairs", "check", "FILE"),
    "pairs lines": ("pairs", "check", "FILE"),
    "pairs list": ("pairs", "check", "FILE"),
    "pairs shard": ("pairs", "check", "FILE"),
    "pairs of shards": ("pairs", "check", "FILE"),
    "data show": ("data", "show", "FILE", "--out", "OUT"),
    "data import": ("data", "import", "FILE", "--dataset", "dtd", "--out", "OUT"),
    "cache ls": ("cache", "ls", "--folder", "FILE"),
    "cache verify": ("cache", "verify", "--folder", "FILE"),
    "report": ("report", "FILE", "--out", "OUT"),
    "runs ls": ("runs", "ls", "FILE"),
    "runs show": ("runs", "show", "FILE"),
    "tune table": ("tune", "coop", "--pairs", "FILE", "--out", "OUT", "--guard", "none", "OPTIM.STEPS", "1"),
    "tune list": ("tune", "coop", "--pairs", "FILE", "--out", "OUT", "--guard", "none", "OPTIM.STEPS", "1"),
    "align data": ("align", "FILE", "--out", "OUT", "--epochs", "1"),
    "continual table": (
        *("continual", "clip_adapter", "--pairs", "FILE", "--phases", "2", "--out", "OUT", "--guard", "none"),
        *("OPTIM.STEPS", "1"),
    ),
    "tune tests": ("tune", "coop", "--pairs", "mini_pairs", "--tests", "FILE", "--out", "OUT", "OPTIM.STEPS", "1"),
    "diagnose adapter": ("diagnose", "FILE"),
    "diagnose lines": ("diagnose", "--tests", "FILE", *ASKED),
    "diagnose list": ("diagnose", "--tests", "FILE", *ASKED),
    "diagnose table": ("diagnose", "--tests", "FILE", *ASKED),
    "diagnose folder": ("diagnose", "--tests", "FILE", *ASKED),
    "diagnose pairs": ("diagnose", "--tests", "none", "--pairs", "FILE", "--guard", "none"),
    "diagnose features": ("diagnose", "--tests", "none", *ASKED, "--blind", "DATA", "--other", "FILE"),
    "diagnose images": ("diagnose", "--tests", "none", *ASKED, "--blind", "FILE", "--other", "IMAGE"),
    "distill data": ("distill", "--data", "FILE", "--student", "test_resnet", "--out", "OUT"),
    "distill descriptions": ("distill", "--data", "DATA", "--descriptions", "FILE", "--out", "OUT"),
    "languages check": ("languages", "check", "--labels", "FILE"),
    "languages prompts": ("languages", "check", "--labels", "LABELS", "--prompts", "FILE"),
    "languages train": ("languages", "train", "FILE", "--language", "de", "--out", "OUT"),
    "descriptors check": ("descriptors", "check", "FILE", "--data", "DATA"),
    "texts train": ("texts", "train", "--data", "FILE", "--out", "OUT"),
    "texts descriptors": ("texts", "train", "--data", "DATA", "--descriptors", "FILE", "--out", "OUT"),
    "captions build": ("captions", "build", "FILE", "--out", "OUT"),
    "name index": ("name", "IMAGE", "--index", "FILE"),
    "grade train": ("grade", "train", "FILE", "--out", "OUT"),
    "grade prompts": ("grade", "train", "IMAGE", "--prompts", "FILE", "--out", "OUT"),
    "link train": ("link", "train", "FILE", "--out", "OUT"),
    "link search": ("link", "search", "FILE", "mini_pairs", "--text", "a cat"),
    "link cluster": ("link", "cluster", "ADAPTER", "FILE"),
    "link eval": ("link", "eval", "FILE", "mini_pairs"),
    "retrieve build": ("retrieve", "build", "FILE", "--out", "OUT"),
    "retrieve build texts": ("retrieve", "build", "FILE", "--text-column", "caption", "--out", "OUT"),
    "retrieve build adapter": ("retrieve", "build", "DATA", "--adapter", "FILE", "--out", "OUT"),
    "retrieve search": ("retrieve", "search", "FILE", "--text", "a cat"),
    "retrieve search image": ("retrieve", "search", "INDEX", "--backbone", "tiny", "--image", "FILE"),
    "retrieve serve": ("retrieve", "serve", "FILE"),
    "retrieve eval": ("retrieve", "eval", "--pairs", "FILE"),
    "retrieve serve images": ("retrieve", "serve", "INDEX", "--backbone", "tiny", "--images", "FILE"),
    "compose train": ("compose", "train", "FILE", "--out", "OUT"),
    "compose search": ("compose", "search", "FILE", "DATA", "--image", "IMAGE"),
    "compose search gallery": ("compose", "search", "HEAD", "FILE", "--image", "IMAGE"),
    "compose search image": ("compose", "search", "HEAD", "DATA", "--image", "FILE"),
    "compose eval": ("compose", "eval", "HEAD", "FILE", "--gallery", "DATA"),
    "compose eval gallery": ("compose", "eval", "HEAD", "LABELS", "--gallery", "FILE"),
    "compose eval set": ("compose", "eval", "HEAD", "FILE", "--layout", "cirr"),
    "upgrade pairs": ("upgrade", "fit", "--pairs", "FILE", "--out", "OUT"),
    "upgrade captions": ("upgrade", "fit", "--pairs", "mini_pairs", "--captions", "FILE", "--out", "OUT", *BRIEF),
    "upgrade report": ("upgrade", "report", "FILE", "--pairs", "mini_pairs"),
    "upgrade search": ("retrieve", "search", "INDEX", "--backbone", "tiny", "--upgrade", "FILE", "--text", "a cat"),
    "regions train": ("regions", "train", "FILE", "--attributes", "red", "--out", "OUT"),
    "regions boxes": ("regions", "train", "mini_pairs", "--attributes", "cat", "--boxes", "FILE", "--out", "OUT"),
    "regions names": ("regions", "train", "mini_pairs", "--attributes", "FILE", "--out", "OUT"),
    "regions map": ("regions", "map", "FILE", "mini_pairs", "--out", "out.csv"),
    "regions search": ("regions", "search", "ADAPTER", "FILE", "--attribute", "red"),
    "regions tune": ("regions", "tune", "FILE", "mini_pairs", "--out", "OUT"),
    "das show": ("das", "show", "FILE"),
    "das report": ("das", "report", "FILE"),
}

# Slot -> the ending of its bad file, where that tells how it is read.
ENDINGS = {
    "train table": ".csv",
    "train described": ".yaml",
    "train described in json": ".json",
    "train described in a table": ".csv",
    "retrieve eval": ".csv",
    "tune table": ".csv",
    "regions train": ".jsonl",
    "regions boxes": ".csv",
    "regions names": ".txt",
    "tune list": ".json",
    "link train": ".csv",
    "link cluster": ".jsonl",
    "continual table": ".csv",
    "tune tests": ".jsonl",
    "diagnose lines": ".jsonl",
    "diagnose list": ".json",
    "diagnose table": ".csv",
    "diagnose pairs": ".csv",
    "diagnose features": ".npy",
    "grade train": ".csv",
    "grade prompts": ".json",
    "distill descriptions": ".json",
    "languages prompts": ".json",
    "languages train": ".tsv",
    "descriptors check": ".json",
    "texts descriptors": ".json",
    "captions build": ".txt",
    "compose eval": ".jsonl",
    "upgrade pairs": ".csv",
    "upgrade captions": ".txt",
    "pairs table": ".csv",
    "pairs lines": ".jsonl",
    "pairs list": ".json",
    "pairs shard": ".tar",
    "pairs of shards": ".txt",
}
VERDICTS = ("data doctor", "cache verify", "predict image")  # print what they find; their exit code says that it is bad


@pytest.fixture(scope="module")
def good(tmp_path_factory, tiny_clip) -> Path:
    """A folder with images in folders of classes, and an adapter."""
    place = tmp_path_factory.mktemp("good")
    drawn = synthetic_dataset(place / "drawn", train=3, val=1, test=2)
    for item in (*drawn.split.train, *drawn.split.val, *drawn.split.test):
        folder = place / "data" / item.classname
        folder.mkdir(parents=True, exist_ok=True)
        (place / "drawn" / item.path).rename(folder / item.path.replace("/", "_"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_clip, "source", WeightsSource("tiny", "some_tag"))  # by which adapters load it
        create_method("coop", tiny_clip, NAMES).save_pretrained(place / "adapter")
        create_head("isa", tiny_clip, tokens=1).save_pretrained(place / "head")
    (place / "labels.json").write_text('{"DE": [[0, 1], ["Katze", "Hund"]]}', encoding="utf-8")
    build_gallery(read_entries(str(place / "data")), PairTowers(tiny_clip), place / "index")
    return place


@pytest.fixture
def words_with(good, tiny_clip, tmp_path, monkeypatch):
    """(words, bad file, output) -> words with the good and bad paths in place."""
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    for module in (trainers.bench.plan, adaptkit.backbone.named_in_file, adaptkit):
        monkeypatch.setattr(module, "load_backbone", lambda *args, **options: tiny_clip)
    image = next((good / "data").rglob("*.png"))

    def words(slot: Sequence[str], bad: str, out: Path) -> list[str]:
        known = {
            **dict.fromkeys(("FILE", *INSIDE), bad), "DATA": str(good / "data"), "ADAPTER": str(good / "adapter"),
            "IMAGE": str(image), "INDEX": str(good / "index"), "LABELS": str(good / "labels.json"),
            "HEAD": str(good / "head"), "OUT": str(out),
        }  # fmt: skip
        return [known.get(word, word) for word in slot]

    return words


def check(slot, kind, good, words_with, folder, capfd):
    """Run the command of a slot on a file of a kind, in a folder of its own."""
    inside = set(SLOTS[slot]) & set(INSIDE)
    if inside and kind.startswith("word"):
        return  # what is inside of an adapter has one name
    bad = put(kind, folder / f"bad{ENDINGS.get(slot, '.file')}")
    for word in inside:
        bad = str(shutil.copytree(good / "adapter", folder / "with_bad"))
        put(kind, folder / "with_bad" / INSIDE[word])
    code = exit_code(words_with(SLOTS[slot], bad, folder / "out"))
    said = capfd.readouterr().err
    wrong = problem(code, said, 0 if slot in VERDICTS else 1)
    assert wrong is None, f"{wrong}: {said[-1500:]}"
    if code == 2:
        assert not (folder / "out").exists(), "something half-written is left"


def own_folder(tmp_path, kind, monkeypatch):
    folder = tmp_path / kind
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("slot", SLOTS)
@for_every(("kind",), [pytest.param(kind, id=kind) for kind in FIRST_KINDS])
def test_a_bad_file_is_one_line_of_error(slot, kind, good, words_with, tmp_path, monkeypatch, capfd):
    check(slot, kind, good, words_with, own_folder(tmp_path, kind, monkeypatch), capfd)


@pytest.mark.slow
@pytest.mark.parametrize("slot", SLOTS)
@for_every(("kind",), [pytest.param(kind, id=kind) for kind in KINDS if kind not in FIRST_KINDS])
def test_so_is_one_of_any_other_kind(slot, kind, good, words_with, tmp_path, monkeypatch, capfd):
    check(slot, kind, good, words_with, own_folder(tmp_path, kind, monkeypatch), capfd)
