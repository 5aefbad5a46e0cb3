from pathlib import Path

import pytest
from PIL import Image

from datasets_fewshot import PAPER_DATASETS, load_dataset
from datasets_fewshot.upkeep import doctor
from datasets_fewshot.upkeep.contact_sheet import contact_sheet
from datasets_fewshot.upkeep.doctor import examine
from datasets_fewshot.upkeep.prepare import DOWNLOADERS, prepare
from tests.helpers.fake_trees import make_tree

DTD = PAPER_DATASETS["dtd"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_a_fake_tree_is_usable_but_not_the_papers(tmp_path):
    make_tree("dtd", tmp_path, DTD.layouts[0])
    report = examine("dtd", tmp_path)
    text = str(report)
    assert report.exit_code == 1
    assert "coop layout in" in text
    assert "47 classes, named as in the papers" in text
    assert "94 train, 47 val, 47 test images; the papers have 2820, 1128, 1692" in text
    assert "30 of 30 published few-shot draws come out otherwise" in text
    assert text.count("example") == 3


def test_what_is_as_in_the_papers_is_said_to_be(tmp_path, monkeypatch):
    make_tree("dtd", tmp_path, DTD.layouts[0])
    monkeypatch.setattr(doctor, "draw_differences", lambda *args: ())
    known = doctor.facts("dtd")
    monkeypatch.setattr(
        doctor, "facts", lambda name: type(known)(94, 47, 47, known.classnames, known.draws, known.lists)
    )
    report = examine("dtd", tmp_path)
    assert report.exit_code == 0
    assert "as in the papers" in str(report)
    assert "all 30 published few-shot draws come out the same" in str(report)


def test_a_report_ends_with_a_verdict(tmp_path):
    assert str(examine("dtd", tmp_path)).splitlines()[-1].startswith("  => not usable yet: do what")
    make_tree("dtd", tmp_path, DTD.layouts[0])
    assert str(examine("dtd", tmp_path)).splitlines()[-1].startswith("  => usable, but not what the papers used")
    assert str(examine("icons", None)).splitlines()[-1] == "  => ready"


def test_an_incomplete_copy_of_images_that_are_listed_says_where_the_rest_is(tmp_path):
    make_tree("imagenet_a", tmp_path, PAPER_DATASETS["imagenet_a"].layouts[0], counts=(0, 0, 1))
    text = str(examine("imagenet_a", tmp_path))
    assert "200 test images; the papers have 0, 0, 7500; get what is missing from https://github.com/hendrycks" in text


def test_a_missing_split_file_is_explained(tmp_path):
    make_tree("dtd", tmp_path, DTD.layouts[0], split_file=False)
    report = examine("dtd", tmp_path)
    assert report.exit_code == 2
    assert DTD.split_file in str(report)
    assert DTD.split_link in str(report)


def test_a_damaged_sample_is_named(tmp_path):
    tree = make_tree("dtd", tmp_path, DTD.layouts[0], counts=(1, 0, 0))
    for path, _, _ in tree.lists["train"]:
        (tree.image_root / path).unlink()
        (tree.image_root / path).write_bytes(b"no image")
    report = examine("dtd", tmp_path)
    assert report.exit_code == 2
    assert "cannot read" in str(report)


def test_a_root_that_is_the_data_set_itself_is_noticed(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.JPG").write_bytes(b"")
    assert "point --root at its parent" in str(examine("dtd", tmp_path))


def test_a_root_that_is_not_there_is_noticed(tmp_path):
    assert "there is no folder" in str(examine("dtd", tmp_path / "nowhere"))


def test_other_class_names_are_listed(tmp_path):
    tree = make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0])
    file = tree.folder / PAPER_DATASETS["eurosat"].split_file
    file.write_text(file.read_text().replace("Annual Crop Land", "AnnualCrop Land"))
    text = str(examine("eurosat", tmp_path))
    assert "1 of 10 class names are not the papers': 0: 'AnnualCrop Land' (papers: 'Annual Crop Land')" in text


def test_a_contact_sheet_shows_every_class(tmp_path):
    make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0])
    sheet = contact_sheet(load_dataset("eurosat", tmp_path), pictures=20, columns=5)
    assert isinstance(sheet, Image.Image)
    assert sheet.size == (5 * 118 + 6, 4 * 144 + 6)
    colors = sheet.crop((6, 6, 118, 118)).getcolors(1 << 16)
    assert colors is not None
    assert len(colors) > 10


def test_prepare_downloads_links_and_resumes(tmp_path, monkeypatch):
    calls: list[Path] = []

    def download(root: str, download: bool) -> None:
        calls.append(Path(root))
        make_tree("oxford_pets", Path(root), PAPER_DATASETS["oxford_pets"].layouts[2])

    monkeypatch.setattr(f"torchvision.datasets.{DOWNLOADERS['oxford_pets']}", download)
    said: list[str] = []
    prepare(PAPER_DATASETS["oxford_pets"], tmp_path, said.append)
    prepare(PAPER_DATASETS["oxford_pets"], tmp_path, said.append)
    assert calls == [tmp_path]
    assert (tmp_path / "oxford_pets").is_symlink()
    assert load_dataset("oxford_pets", tmp_path, split="fallback").image_root == tmp_path / "oxford_pets" / "images"
    assert "downloading" in said[0]


@pytest.mark.parametrize("name", DOWNLOADERS)
def test_every_downloaders_folder_is_linked_as_coop_has_it(tmp_path, name):
    dataset = PAPER_DATASETS[name]
    layout = next((layout for layout in dataset.layouts if layout.name == "torchvision"), dataset.layouts[0])
    make_tree(name, tmp_path, layout, counts=(4, 2, 3))
    prepare(dataset, tmp_path, lambda text: None)
    coop = dataset.layouts[0]
    assert (tmp_path / coop.folder / coop.images).is_dir()
    fallback = "fallback" if dataset.split_file else "paper"
    assert len(load_dataset(name, tmp_path, split=fallback).classnames) == len(doctor.facts(name).classnames)


def test_a_failed_download_says_where_else_to_look(tmp_path, monkeypatch):
    def fail(root: str, download: bool) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.DTD", fail)
    with pytest.raises(OSError, match=r"no network.*robots\.ox\.ac\.uk"):
        prepare(DTD, tmp_path, lambda text: None)


def test_what_cannot_be_downloaded_says_where_to_get_it(tmp_path):
    with pytest.raises(ValueError, match="torchvision cannot download ImageNet"):
        prepare(PAPER_DATASETS["imagenet"], tmp_path, lambda text: None)
