import json
import subprocess
import sys

import pytest

import trainers.bench.jobs
import trainers.bench.main
import trainers.bench.plan
from adaptkit import list_methods, list_test_time, list_wrappers, method_class
from datasets_fewshot import registry
from tests.helpers.synthetic import synthetic_dataset
from trainers.cli import main
from trainers.cli.bench import own_paths

SHORT = ["--methods", "zero_shot,coop", "--shots", "2", "--seeds", "1,2", "--device", "cpu", "OPTIM.EPOCHS", "2"]


@pytest.fixture
def noise(monkeypatch, tiny_clip, tmp_path):
    """One data set of four classes, a tiny backbone, and a working folder of the test's own."""
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", loader)})
    monkeypatch.setattr(trainers.bench.plan, "load_backbone", lambda *args, **options: tiny_clip)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_and_parser_need_no_torch():
    heavy = "torch", "open_clip", "torchvision", "numpy", "PIL", "rich", "yaml"
    build = "import sys; from trainers.cli.command import build_parser; build_parser()"
    code = f"{build}; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_bench_prints_a_table_and_writes_it(noise, capsys):
    assert main(["bench", *SHORT]) == 0
    printed = capsys.readouterr()
    assert "Base to novel, suite mini" in printed.out
    assert "3 runs: 3 to do" in printed.err
    assert "3/3 noise coop, 2 shots, seed 2: base" in printed.err
    assert "| noise | coop | 2 |" in (noise / "runs" / "base_to_novel.md").read_text()


def test_a_second_bench_reuses_the_runs(noise, capsys):
    main(["bench", *SHORT])
    capsys.readouterr()
    assert main(["bench", *SHORT]) == 0
    assert "3 runs: 3 finished before and reused (--fresh computes them again), 0 to do" in capsys.readouterr().err


def test_ctrl_c_keeps_finished_runs_and_leaves_nothing_half_written(noise, capsys, monkeypatch):
    execute, calls = trainers.bench.jobs.execute, []

    def interrupted(run, bench, on_epoch=None):
        calls.append(run)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return execute(run, bench, on_epoch)

    monkeypatch.setattr(trainers.bench.jobs, "execute", interrupted)
    assert main(["bench", *SHORT, "--replicas", "1"]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert len(list((noise / "runs").glob("*/*/*/record.json"))) == 2
    assert [path for path in noise.rglob(".*") if path.is_file()] == []
    assert main(["bench", *SHORT]) == 0
    assert "3 runs: 2 finished before and reused" in capsys.readouterr().err
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "--methods", "cop"], "METHODS: there is no 'cop'; did you mean coop"),
        (["bench", "--datasets", "noice"], "DATASETS: there is no 'noice'; did you mean noise?"),
        (["bench", "COOP.N_CTXS", "3"], "did you mean COOP.N_CTX"),
        (["bench", "--device", "tpu"], "device is 'tpu'; use auto, cpu, cuda or cuda:1"),
        (["bench", "--seeds", "1,x"], "argument --seeds: 'x'; expected a whole number, from 0"),
        (["bench", "--config", "none.yaml"], "there is no config file 'none.yaml'"),
        (["report", "nowhere"], "no finished run below 'nowhere'"),
        (["backbones", "ViT-Q*"], "no backbone is called like 'ViT-Q*'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(noise, capsys, words, message):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("adaptkit: error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    "words", [["bench", "--method", "coop", "--sheeds", "1"], ["runs", "show", "a", "b"], ["benhc"]]
)
def test_an_unknown_option_is_exit_code_2(noise, capsys, words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


def test_overrides_may_stand_between_options(noise, capsys):
    words = ["bench", "OPTIM.EPOCHS", "1", "--shots", "2", "COOP.N_CTX", "2", "--seeds", "1", "--device", "cpu"]
    assert main([*words, "--methods", "coop"]) == 0
    notes = (noise / "runs" / "base_to_novel.md").read_text()
    assert "coop: OPTIM.EPOCHS is 1 (recipe: 200)" in notes
    assert "coop: COOP.N_CTX is 2 (recipe: 4)" in notes


def test_a_traceback_is_shown_when_asked_for(noise, capsys):
    assert main(["--traceback", "bench", "--methods", "cop"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_report_makes_the_table_from_records_alone(noise, capsys):
    main(["bench", *SHORT])
    capsys.readouterr()
    assert main(["report", "runs"]) == 0
    assert capsys.readouterr().out == (noise / "runs" / "base_to_novel.md").read_text()


def test_methods_says_of_every_method_what_it_is_and_how_much_it_learns(capsys):
    assert main(["methods", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in printed if row["kind"] not in ("around", "objective")}
    wrappers = {row["name"]: row for row in printed if row["kind"] == "around"}
    assert (set(rows), set(wrappers)) == (set(list_methods()), {*list_wrappers()} - {*list_test_time()})
    assert {name: row["sees"] for name, row in rows.items() if row["sees"]} == {
        name: method_class(name).sees for name in list_test_time()
    }
    assert (rows["tpt"]["kind"], rows["tpt"]["released"], rows["tpt"]["licence"]) == ("test_time", "azshue/TPT", "MIT")
    assert (wrappers["das"]["parameters"], wrappers["das"]["needs"]) == (2_210_368, "ViT blocks")
    counts = {name: rows[name]["parameters"] for name in ("zero_shot", "coop", "maple", "tip_adapter_f", "clip_lora")}
    assert counts == {
        "zero_shot": 0, "coop": 16 * 512, "maple": 3_555_072, "tip_adapter_f": 100 * 16 * 512, "clip_lora": 184_320,
    }  # fmt: skip
    coop, maple = rows["coop"], rows["maple"]
    assert (coop["kind"], coop["trains_on"], coop["needs"], coop["paper"]) == (
        "before", "features", "any backbone", "2109.01134",
    )  # fmt: skip
    assert coop["options"]["n_ctx"] == coop["described"][0]["default"] == 16
    assert coop["described"][0]["help"] == "Learnt tokens."
    assert (maple["trains_on"], maple["needs"]) == ("images", "ViT blocks")


def test_methods_lists_the_options_of_one(capsys):
    assert main(["methods", "coop"]) == 0
    printed = capsys.readouterr().out
    assert "n_ctx = 16: Learnt tokens. Takes a whole number, 1 or more." in printed
    assert "8,192" in printed
    assert main(["methods", "cop"]) == 2
    assert "did you mean coop" in capsys.readouterr().err


def test_backbones_lists_tags(capsys):
    assert main(["backbones", "ViT-B-16*"]) == 0
    assert "ViT-B-16: " in capsys.readouterr().out


def test_own_images_are_given_as_paths_and_templates_as_sentences(noise, capsys):
    synthetic_dataset(noise / "made", train=6)
    for label, name in enumerate(("cats, small", "dogs")):
        folder = noise / "my photos" / name
        folder.mkdir(parents=True)
        for image in (noise / "made" / "train").glob(f"{label}_*"):
            image.rename(folder / image.name)
    (noise / "names.txt").write_text("Siamese cat\nPug\n")
    words = ["--data", "my photos", "--classnames", "names.txt", "--template", "a photo, or a {}.", "--template", "{}!"]
    assert main(["bench", *SHORT, *words, "--protocol", "few_shot"]) == 0
    assert "Few shot, suite own" in capsys.readouterr().out
    (file,) = noise.glob("runs/few_shot/my photos/zero_shot*/record.json")
    record = json.loads(file.read_text())
    assert record["identity"]["templates"] == ["a photo, or a {}.", "{}!"]
    assert record["scores"][0]["classnames"] == ["Siamese cat", "Pug"]


def test_data_may_be_listed_with_commas(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert own_paths(str(tmp_path / "a,b")) == [str(tmp_path / "a,b")]
    assert own_paths("x,y") == ["x", "y"]


def test_a_diverged_training_is_one_line_with_the_checkpoint(noise, capsys, monkeypatch):
    coop = method_class("coop")
    loss = coop.loss
    monkeypatch.setattr(coop, "loss", lambda self, x, labels: loss(self, x, labels) * float("inf"))
    assert main(["bench", *SHORT, "--replicas", "1"]) == 2
    printed = capsys.readouterr()
    assert "noise        zero_shot" in printed.out  # what did not fail has its table
    error = printed.err.splitlines()[-1]
    assert error.startswith("adaptkit: error: 2 runs failed: coop on noise, seed 1: the loss is inf at step 0 (epoch 0")
    assert "the last good checkpoint, after 0 epochs, is runs/" in error
