"""Nothing in a file that a user loads is run: code is planted in every kind of file, and no reader runs it."""

import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import adaptkit
from adaptkit.texts.class_texts import read_class_texts
from tests.helpers.planted import Plant
from trainers.cli import main
from trainers.fit.auto.leaderboard import LOGITS_FILE, read_fold_logits

EXPECTED = (ValueError, FileNotFoundError, OSError)


def python_yaml(plant: Plant) -> str:
    return f"OPTIM: !!python/object/apply:exec [{json.dumps(plant.code)}]\n"


def adapter(folder: Path) -> Path:
    backbone = adaptkit.load_backbone("adaptkit-mini")
    return adaptkit.create_method("clip_adapter", backbone, ["cat", "dog"]).save_pretrained(folder)


def tensors_of_an_adapter(folder: Path, plant: Plant) -> None:
    saved = adapter(folder / "adapter")
    torch.save({"x": plant}, saved / "learnt.safetensors")
    adaptkit.load(saved)


def tensors_of_a_zipped_adapter(folder: Path, plant: Plant) -> None:
    saved = adapter(folder / "adapter")
    with zipfile.ZipFile(folder / "adapter.zip", "w") as archive:
        archive.write(saved / "adapter_config.json", "adapter_config.json")
        archive.writestr("learnt.safetensors", pickle.dumps(plant))
        archive.writestr("sitecustomize.py", plant.code)
    adaptkit.load(folder / "adapter.zip")


def checkpoint(name: str, write: Callable[[object, Path], None]) -> Callable[[Path, Plant], None]:
    def load(folder: Path, plant: Plant) -> None:
        write({"state_dict": {"visual.proj": torch.ones(1)}, "extra": plant}, folder / name)
        adaptkit.load_backbone("ViT-S-32-alt", checkpoint=folder / name)

    return load


def import_of_a_released_checkpoint(folder: Path, plant: Plant) -> None:
    torch.save({"state_dict": {"prompt_learner.ctx": torch.ones(4, 512)}, "optimizer": plant}, folder / "model.pth.tar")
    adaptkit.import_official(folder / "model.pth.tar", adaptkit.load_backbone("adaptkit-mini"), ["cat", "dog"])


def config_file(folder: Path, plant: Plant) -> None:
    (folder / "config.yaml").write_text(python_yaml(plant))
    assert main(["bench", "--config", str(folder / "config.yaml"), "--out", str(folder / "runs"), "--dry-run"]) == 2
    raise ValueError("refused")


def override(folder: Path, plant: Plant) -> None:
    written = f"!!python/object/apply:exec [{json.dumps(plant.code)}]"
    assert main(["bench", "--out", str(folder / "runs"), "--dry-run", "OPTIM.EPOCHS", written]) == 2
    raise ValueError("refused")


def few_shot_pickle(folder: Path, plant: Plant) -> None:
    (folder / "shot_1-seed_1.pkl").write_bytes(pickle.dumps({"train": [plant]}))
    from datasets_fewshot import PAPER_DATASETS
    from datasets_fewshot.upkeep.pickle_import import import_pickle

    import_pickle(folder / "shot_1-seed_1.pkl", PAPER_DATASETS["dtd"])


def shards(folder: Path, plant: Plant) -> None:
    picture = BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    array = BytesIO()
    np.save(array, np.array([plant], dtype=object), allow_pickle=True)
    members = {".png": picture.getvalue(), ".cls": b"0", ".pyd": pickle.dumps(plant), ".npy": array.getvalue()}
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for index in range(4):
            for suffix, content in {**members, ".cls": str(index % 2).encode()}.items():
                entry = tarfile.TarInfo(f"{index:04d}{suffix}")
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))
    from datasets_fewshot import load_own_data

    load_own_data(folder / "shard.tar")
    raise ValueError("read without the pickles")


def shards_with_captions(folder: Path, plant: Plant) -> None:
    (folder / "list.txt").write_text(f"pipe:touch '{plant.mark}' #.tar\n")
    picture = BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for index in range(4):
            members = {".png": picture.getvalue(), ".txt": str(index).encode(), ".pyd": pickle.dumps(plant)}
            for suffix, content in members.items():
                entry = tarfile.TarInfo(f"{index:04d}{suffix}")
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))
    from datasets_fewshot.pairs.load import load_pairs

    load_pairs(folder / "shard.tar")
    load_pairs(folder / "list.txt")


def arrays_as_images(folder: Path, plant: Plant) -> None:
    for index, name in enumerate(("cat", "dog")):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (index, number, 0)).save(folder / "images" / name / f"{number}.png")
        np.save(folder / "images" / name / "a.npy", np.array([plant], dtype=object), allow_pickle=True)
        (folder / "images" / name / "b.png").write_bytes(pickle.dumps(plant))
        (folder / "images" / name / "images.py").write_text(plant.code)
    from datasets_fewshot import load_own_data

    load_own_data(folder / "images", skip_bad=True)
    raise ValueError("read without the arrays")


def saved_data_set(folder: Path, plant: Plant) -> None:
    pytest.importorskip("datasets")
    (folder / "saved").mkdir()
    (folder / "saved" / "saved.py").write_text(plant.code)
    (folder / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (folder / "saved" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.pkl"}]}))
    (folder / "saved" / "x.pkl").write_bytes(pickle.dumps(plant))
    from datasets_fewshot import load_own_data

    load_own_data(folder / "saved")


def texts_of_classes(folder: Path, plant: Plant) -> None:
    (folder / "texts.yaml").write_text(python_yaml(plant).replace("OPTIM", "cat"))
    read_class_texts(folder / "texts.yaml")


def calibration_of_an_adapter(folder: Path, plant: Plant) -> None:
    saved = adapter(folder / "adapter")
    (saved / "calibration.json").write_bytes(pickle.dumps(plant))
    adaptkit.load(saved)


def held_out_logits_of_a_search(folder: Path, plant: Plant) -> None:
    (folder / LOGITS_FILE).write_bytes(pickle.dumps(plant))
    read_fold_logits(folder)


def records(folder: Path, plant: Plant) -> None:
    run = folder / "runs" / "few_shot" / "dtd" / "coop-1shots-seed1-0123456789ab"
    run.mkdir(parents=True)
    (run / "record.json").write_bytes(pickle.dumps(plant))
    (run / "learnt.safetensors").write_bytes(pickle.dumps(plant))
    from trainers.runs.records import read_record

    read_record(run)


READERS = {
    "the tensors of an adapter": tensors_of_an_adapter,
    "the tensors of a zipped adapter": tensors_of_a_zipped_adapter,
    "a checkpoint of torch.save": checkpoint("weights.pt", torch.save),
    "a checkpoint in torch's old format": checkpoint(
        "weights.pth", lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False)
    ),
    "a plain pickle as a checkpoint": checkpoint(
        "weights.bin", lambda content, path: path.write_bytes(pickle.dumps(content))
    ),
    "a plain pickle as safetensors": checkpoint(
        "weights.safetensors", lambda content, path: path.write_bytes(pickle.dumps(content))
    ),
    "a released checkpoint": import_of_a_released_checkpoint,
    "a config file": config_file,
    "an override": override,
    "a few-shot pickle": few_shot_pickle,
    "webdataset shards": shards,
    "webdataset shards with captions": shards_with_captions,
    "arrays among images": arrays_as_images,
    "a saved data set": saved_data_set,
    "records": records,
    "texts of classes": texts_of_classes,
    "the calibration of an adapter": calibration_of_an_adapter,
    "held-out logits of a search": held_out_logits_of_a_search,
}


@pytest.mark.parametrize("kind", READERS)
def test_planted_code_is_not_run(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plant = Plant(tmp_path)
    with pytest.raises(EXPECTED):
        READERS[kind](tmp_path, plant)
    assert not plant.ran


def test_the_planted_code_runs_where_a_file_is_unpickled_carelessly(tmp_path):
    plant = Plant(tmp_path)
    pickle.loads(pickle.dumps(plant))
    assert plant.ran
