import argparse
import os
import time

import pytest
import torch

from datasets_fewshot import PAPER_DATASETS, FeatureKey, FeatureStore, read_split
from datasets_fewshot.paper_format.facts import facts
from tests.helpers.fake_trees import make_tree
from tests.helpers.old_pickles import Datum, pickled
from trainers.cli import data

KEY = FeatureKey("weights", "evaluation", "files", "float32")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ADAPTKIT_CACHE", str(folder))
    return folder


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    data.add_parsers(parser.add_subparsers(required=True))
    args = parser.parse_args([str(word) for word in words])
    return args.run(args)


def test_list_names_every_data_set_with_sizes_and_places(tmp_path, capsys):
    make_tree("dtd", tmp_path, PAPER_DATASETS["dtd"].layouts[0])
    assert run("data", "list", "--root", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    (dtd,) = [line for line in lines if line.split()[:1] == ["dtd"]]
    assert "47 classes" in dtd
    assert f"in {tmp_path / 'dtd'}" in dtd
    assert any("caltech101" in line and line.endswith("not found") for line in lines)
    assert any("emoji_animals" in line for line in lines)


def test_doctor_tells_by_its_exit_code(tmp_path, capsys):
    make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0])
    assert run("data", "doctor", "eurosat", "--root", tmp_path) == 2
    assert run("data", "doctor", "eurosat", "dtd", "--root", tmp_path) == 2
    assert "0 as in the papers, 1 differ, 1 not usable" in capsys.readouterr().out


def test_doctor_examines_embedded_data_sets_too(capsys):
    assert run("data", "doctor", "fashion_mnist") == 0
    assert "fashion_mnist (embedded)" in capsys.readouterr().out


def test_doctor_takes_all_of_the_papers(tmp_path, capsys):
    assert run("data", "doctor", "--all", "--root", tmp_path) == 2
    assert f"0 as in the papers, 0 differ, {len(PAPER_DATASETS)} not usable" in capsys.readouterr().out


def test_doctor_wants_names_or_all(tmp_path):
    with pytest.raises(ValueError, match="name one or more data sets, or ask for --all"):
        run("data", "doctor", "--root", tmp_path)


def test_show_draws_embedded_and_own_data(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert run("data", "show", "fashion_mnist", "--out", out, "--pictures", 10) == 0
    assert out.stat().st_size > 1000
    tree = make_tree("eurosat", tmp_path / "own", PAPER_DATASETS["eurosat"].layouts[0])
    assert run("data", "show", tree.image_root, "--out", out) == 0
    assert "10 classes of 2750" in capsys.readouterr().out


def test_show_names_what_it_cannot_find_or_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is nothing at '/no/photos'"):
        run("data", "show", "/no/photos")
    tree = make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0])
    (tree.image_root / "Forest" / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"Forest/text\.jpg.*--skip-bad"):
        run("data", "show", tree.image_root, "--out", tmp_path / "sheet.png")
    assert run("data", "show", tree.image_root, "--skip-bad", "--out", tmp_path / "sheet.png") == 0


def test_show_draws_a_fallback_split_where_asked(tmp_path):
    layout = PAPER_DATASETS["eurosat"].layouts[0]
    make_tree("eurosat", tmp_path, layout, counts=(5, 2, 3), split_file=False)
    out = tmp_path / "sheet.png"
    assert run("data", "show", "eurosat", "--root", tmp_path, "--split", "fallback", "--out", out) == 0


def test_prepare_checks_what_is_there(tmp_path, capsys):
    make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0])
    assert run("data", "prepare", "eurosat", "--root", tmp_path) == 2
    assert "EuroSAT is in" in capsys.readouterr().out


def test_prepare_knows_only_the_papers_data_sets(tmp_path):
    with pytest.raises(ValueError, match="'mnist' is no data set of the papers; use one of imagenet"):
        run("data", "prepare", "mnist", "--root", tmp_path)


def test_import_writes_a_split(tmp_path, capsys):
    path = tmp_path / "shot_1-seed_1.pkl"
    records = [Datum(f"/data/dtd/images/{name}/1.jpg", i, name) for i, name in enumerate(facts("dtd").classnames)]
    path.write_bytes(pickled({"train": records, "val": []}))
    assert run("data", "import", path, "--dataset", "dtd", "--out", tmp_path / "split.json") == 0
    assert len(read_split(tmp_path / "split.json").train) == 47


@pytest.fixture
def store(own_cache):
    store = FeatureStore(own_cache / "features")
    store.features(KEY, 3, lambda: iter([torch.ones(3, 2)]))
    return store


def test_cache_ls_lists_entries(store, capsys):
    assert run("cache", "ls") == 0
    out = capsys.readouterr().out
    assert KEY.digest() in out
    assert "3 x 2 float32" in out
    assert "1 entries" in out


def test_cache_verify_finds_damage(store, capsys):
    assert run("cache", "verify") == 0
    file = store.folder / KEY.digest() / "features.bin"
    file.write_bytes(bytes(24))
    assert run("cache", "verify") == 2
    assert "shards [0] of 1 do not match" in capsys.readouterr().out


def test_cache_rm_removes_what_is_named_or_all(store):
    with pytest.raises(ValueError, match="name the entries to remove"):
        run("cache", "rm")
    with pytest.raises(FileNotFoundError, match="no entry 'nothing'"):
        run("cache", "rm", "nothing")
    assert run("cache", "rm", KEY.digest(), "--yes") == 0
    assert store.entries() == []
    FeatureStore(store.folder).features(KEY, 3, lambda: iter([torch.ones(3, 2)]))
    assert run("cache", "rm", "--all", "--yes") == 0
    assert list(store.folder.iterdir()) == []


def test_cache_rm_removes_nothing_before_it_is_told_to(store, capsys):
    for arguments in (["--all"], [KEY.digest()]):
        assert run("cache", "rm", *arguments) == 0
        assert "nothing was removed" in capsys.readouterr().out
        assert (store.folder / KEY.digest() / "features.bin").is_file()


def test_cache_rm_all_keeps_what_no_store_wrote(store, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "entry.json").write_text('{"format": 1}')
    kept = []
    for name, files in {"photos": ["cat.jpg"], "0" * 32: ["entry.json"], "projects": ["entry.json"]}.items():
        (store.folder / name).mkdir()
        for file in files:
            (store.folder / name / file).write_text("mine")
            kept.append(store.folder / name / file)
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / ("1" * 32)).symlink_to(outside)
    (store.folder / KEY.digest() / "thesis.tex").write_text("mine")
    (store.folder / KEY.digest() / "link").symlink_to(outside)
    assert run("cache", "rm", "--all", "--yes", "--folder", store.folder) == 0
    printed = capsys.readouterr().out
    kept += [store.folder / "notes.txt", store.folder / KEY.digest() / "thesis.tex", outside / "entry.json"]
    assert all(path.is_file() for path in kept)
    assert (store.folder / ("1" * 32)).is_symlink()
    assert not (store.folder / KEY.digest() / "features.bin").exists()
    assert all(
        f"kept {store.folder / name}" in printed for name in ("photos", "notes.txt", "projects", "0" * 32, "1" * 32)
    )
    assert "thesis.tex: adaptkit did not write it" in printed


def test_a_store_clears_only_its_own_abandoned_folders(store):
    old = time.time() - 10 * 24 * 3600
    for name in (".my-photos", f".new-{'a' * 32}-{'b' * 8}"):
        (store.folder / name).mkdir()
        (store.folder / name / "features.bin").write_text("x")
        os.utime(store.folder / name, (old, old))
    store.remove(KEY.digest())
    FeatureStore(store.folder).features(KEY, 3, lambda: iter([torch.ones(3, 2)]))
    assert (store.folder / ".my-photos" / "features.bin").is_file()
    assert not (store.folder / f".new-{'a' * 32}-{'b' * 8}").exists()


def test_an_empty_cache_is_listed_as_such(capsys):
    assert run("cache", "ls") == 0
    assert "0 entries" in capsys.readouterr().out


def test_list_counts_what_is_there_and_not_what_the_papers_have(tmp_path, capsys):
    make_tree("dtd", tmp_path, PAPER_DATASETS["dtd"].layouts[0], counts=(2, 1, 1))
    make_tree("imagenet", tmp_path, PAPER_DATASETS["imagenet"].layouts[-1], counts=(2, 0, 1))
    make_tree("food101", tmp_path, PAPER_DATASETS["food101"].layouts[0], split_file=False)
    run("data", "list", "--root", tmp_path)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert "94 train     47 val     47 test" in lines["dtd"]
    assert lines["dtd"].endswith("(papers: 47 classes, 2820 train, 1128 val, 1692 test)")
    assert "2000 train      0 val   1000 test" in lines["imagenet"]
    assert "not usable yet" in lines["food101"]
    assert lines["caltech101"].endswith("not found")
