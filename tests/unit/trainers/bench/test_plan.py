from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import trainers.bench.plan
import trainers.feeding.encoder
import trainers.runs.execute
import trainers.runs.learning
from adaptkit import create_method, list_methods, method_class
from adaptkit.backbone.tokenizer import Tokenizer
from datasets_fewshot import Split, registry
from tests.helpers.models import build
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.bench.jobs import RunsFailedError, performer, refuse_failures, run_all
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.config.values import ConfigError
from trainers.launchers import InProcess
from trainers.protocols import domain_generalization as domains
from trainers.protocols.base_to_novel import base_to_novel
from trainers.protocols.domain_generalization import domain_generalization
from trainers.protocols.few_shot import few_shot
from trainers.runs.execute import set_classes
from trainers.runs.records import LAST_GOOD_FILE, LEARNT_FILE, RECORD_FILE
from trainers.tables.tables import tables

SHORT = ["METHODS", "[zero_shot, coop]", "SHOTS", "[2]", "SEEDS", "[1, 2]", "OPTIM.EPOCHS", "3"]
COOP = ["COOP.N_CTX", "2", "COOP.CTX_INIT", "''"]


@pytest.fixture
def bench(monkeypatch, tiny_clip, tmp_path):
    """(overrides) -> (config, what all its runs share), on one data set of four classes."""
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", loader)})
    monkeypatch.setattr(trainers.bench.plan, "load_backbone", lambda *args, **options: tiny_clip)

    def make(*overrides: str, out="runs"):
        asked = overrides[overrides.index("METHODS") + 1] if "METHODS" in overrides else "[coop]"
        takes_part = {"all", "coop"} & set(asked.strip("[]").split(", "))
        words = [*SHORT, *(COOP if takes_part else []), "DEVICE", "cpu", *overrides]
        config = load_bench(overrides=words)
        return config, open_bench(config, tmp_path / out, tmp_path / "cache")

    return make


def run_quietly(config, shared, fresh=False):
    told, todo = [], plan(config, shared, fresh)
    launcher = InProcess(performer(todo, shared), "cpu")
    records, failures = run_all(config, todo, shared, shared.out.parent / "cache", launcher, told.append)
    refuse_failures(failures)
    return records, [event for event in told if event.kind == "start"]


def test_zero_shot_runs_once_and_coop_once_per_seed(bench):
    todo = plan(*bench())
    assert [(run.config.method, run.identity["seed"]) for run in todo.runs] == [
        ("zero_shot", 0), ("coop", 1), ("coop", 2),
    ]  # fmt: skip
    assert todo.to_do == todo.runs


def test_label_smoothing_is_a_run_of_its_own_and_changes_no_other(bench):
    plain, zero, smoothed = (
        plan(*bench(*words)).runs for words in ([], ["OPTIM.LABEL_SMOOTHING", "0"], ["OPTIM.LABEL_SMOOTHING", "0.1"])
    )
    assert [run.run_id for run in plain] == [run.run_id for run in zero]
    assert plain[0].run_id == smoothed[0].run_id  # zero-shot
    assert plain[1].run_id != smoothed[1].run_id
    assert smoothed[1].identity["optim"]["label_smoothing"] == 0.1


@pytest.mark.parametrize("method", ["linear_probe", "tip_adapter"])
def test_labels_of_a_method_that_takes_no_steps_cannot_be_smoothed(bench, method):
    words = ("METHODS", f"[zero_shot, {method}]", "OPTIM.LABEL_SMOOTHING", "0.1")
    with pytest.raises(ConfigError, match=f"{method} cannot run in .*so OPTIM.LABEL_SMOOTHING would change nothing"):
        plan(*bench(*words))
    with pytest.raises(ConfigError, match="SMOOTHING would change nothing"):
        plan(*bench(*words, "OPTIM.STEPS", "5"))  # what is fitted is fitted whatever else is set


def test_one_training_gives_two_tests(bench):
    records, _ = run_quietly(*bench())
    coop = records[1]
    assert [(score.name, score.classnames, score.total) for score in coop.scores] == [
        ("base", NAMES[:2], 6), ("new", NAMES[2:], 6),
    ]  # fmt: skip
    assert (coop.train_items, coop.epochs, coop.steps, coop.trainable_parameters) == (4, 3, 3, 128)
    assert coop.final_loss is not None


def test_few_shot_tests_all_classes(bench):
    records, _ = run_quietly(*bench("PROTOCOL", "few_shot", "METHODS", "[coop]", "SEEDS", "[1]"))
    assert [(score.name, score.total) for score in records[0].scores] == [("all", 12)]
    assert records[0].train_items == 8


def test_finished_runs_are_reused_and_fresh_ones_computed(bench):
    config, shared = bench()
    first, started = run_quietly(config, shared)
    assert len(started) == 3
    again, started = run_quietly(config, shared)
    assert started == []
    assert again == first
    _, started = run_quietly(config, shared, fresh=True)
    assert len(started) == 3


def test_what_a_finished_run_left_when_it_was_killed_is_removed(bench):
    config, shared = bench("METHODS", "[coop]", "SEEDS", "[1]")
    run_quietly(config, shared)
    (run,) = plan(config, shared).runs
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "000000001-00.safetensors").touch()
    (run.folder / ".record.json.1-ab").touch()
    _, started = run_quietly(config, shared)
    assert started == []
    assert sorted(path.name for path in run.folder.iterdir()) == [LEARNT_FILE, RECORD_FILE]


def test_a_damaged_record_is_reported_and_computed_again(bench):
    config, shared = bench()
    run_quietly(config, shared)
    folder = plan(config, shared).runs[1].folder
    (folder / RECORD_FILE).write_text("{")
    todo = plan(config, shared)
    assert len(todo.problems) == 1
    assert [run.folder for run in todo.to_do] == [folder]


def test_a_run_repeats_exactly_whatever_ran_before(bench):
    config, shared = bench("LAUNCH.REPLICAS", "1", out="one")
    records, _ = run_quietly(config, shared)
    torch.rand(1000)
    alone, elsewhere = bench("METHODS", "[coop]", "SEEDS", "[2]", out="two")
    repeated, _ = run_quietly(alone, elsewhere)
    ours = plan(config, shared).runs[2].folder / LEARNT_FILE
    theirs = plan(alone, elsewhere).runs[0].folder / LEARNT_FILE
    assert repeated[0].run_id == records[2].run_id
    assert repeated[0].scores == records[2].scores
    assert load_file(ours).keys() == {"context.ctx"}
    assert torch.equal(load_file(ours)["context.ctx"], load_file(theirs)["context.ctx"])


def test_what_one_process_has_probed_is_not_probed_by_another(bench, monkeypatch):
    todo = plan(*bench())
    monkeypatch.setattr(trainers.bench.plan, "probe", lambda *args: "it is probed again")
    assert [run.run_id for run in plan(*bench(), known=todo.probed).runs] == [run.run_id for run in todo.runs]


def test_a_bench_leaves_the_global_generator_alone(bench):
    before = torch.random.get_rng_state()
    run_quietly(*bench())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "overrides",
    [
        ["OPTIM.LR", "0.1"],
        ["COOP.N_CTX", "3"],
        ["VIEWS.AUGMENT", "pool"],
        ["SHOTS", "[3]"],
        ["PROTOCOL", "few_shot"],
        ["PRECISION", "bf16"],
        ["SEEDS", "[3, 4]"],
    ],
    ids=" ".join,
)
def test_what_changes_a_result_changes_the_run_id(bench, overrides):
    ids = [{run.run_id for run in plan(*bench("METHODS", "[coop]", *extra)).runs} for extra in ([], overrides)]
    assert not ids[0] & ids[1]


def test_places_and_worker_counts_do_not_change_the_run_id(bench):
    ids = [
        {run.run_id for run in plan(*bench("METHODS", "[coop]", *extra, out=out)).runs}
        for extra, out in (([], "one"), (["DATA.WORKERS", "1", "DATA.ROOT", "/elsewhere"], "two"))
    ]
    assert ids[0] == ids[1]


def test_runs_are_ordered_by_data_set_and_seed(bench, monkeypatch, tmp_path):
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {name: ("mini", loader) for name in ("b", "a")})
    todo = plan(*bench("METHODS", "[coop]"))
    assert [(run.config.dataset, run.config.seed) for run in todo.runs] == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]


def test_training_never_sees_the_new_classes(tmp_path):
    dataset = synthetic_dataset(tmp_path)
    task = base_to_novel(dataset, shots=2, seed=1)
    assert task.classnames == NAMES[:2]
    assert {item.label for item in task.train} == {0, 1}
    assert {item.classname for item in task.train} == set(NAMES[:2])


def test_base_to_novel_halves_the_draw_of_all_classes(tmp_path):
    dataset = synthetic_dataset(tmp_path)
    everything = few_shot(dataset, shots=2, seed=1)
    base = base_to_novel(dataset, shots=2, seed=1)
    assert base.train == tuple(item for item in everything.train if item.label < 2)


def test_class_bound_methods_are_refused_before_any_run(bench):
    config, shared = bench("METHODS", "[coop]", "COOP.CLASS_SPECIFIC", "true")
    with pytest.raises(ConfigError, match="coop cannot run in base_to_novel"):
        plan(config, shared)


@pytest.mark.parametrize(("n_views", "shape"), [(0, (4, 32)), (3, (4, 3, 32))])
def test_a_method_that_keeps_training_images_gets_them_in_the_views_it_asks_for(bench, monkeypatch, n_views, shape):
    seen = []
    zero_shot = method_class("zero_shot")
    monkeypatch.setattr(zero_shot, "prepare", lambda self, support: seen.append(support), raising=False)
    monkeypatch.setattr(zero_shot, "provides", zero_shot.provides | {"prepare"})
    monkeypatch.setattr(zero_shot, "support_views", n_views, raising=False)
    config, shared = bench("METHODS", "[zero_shot]")
    records, _ = run_quietly(config, shared)
    assert [record.seed for record in records] == [1, 2]  # it depends on the shots now, so every seed counts
    task = base_to_novel(synthetic_dataset(shared.out.parent / "images"), 2, 1)
    assert seen[0].labels.tolist() == [item.label for item in task.train]
    assert seen[0].x.shape == shape


def test_a_method_that_wants_few_training_images_gets_some_of_every_class(bench, monkeypatch):
    seen = []
    zero_shot = method_class("zero_shot")
    monkeypatch.setattr(zero_shot, "prepare", lambda self, support: seen.append(support), raising=False)
    monkeypatch.setattr(zero_shot, "provides", zero_shot.provides | {"prepare"})
    monkeypatch.setattr(zero_shot, "support_items", 2, raising=False)
    run_quietly(*bench("METHODS", "[zero_shot]", "SEEDS", "[1]"))
    assert seen[0].labels.tolist() == [0, 1]


def test_a_method_that_tunes_itself_gets_validation_images_of_its_classes(bench, monkeypatch):
    seen = []
    zero_shot = method_class("zero_shot")
    monkeypatch.setattr(zero_shot, "tune", lambda self, validation: seen.append(validation), raising=False)
    monkeypatch.setattr(zero_shot, "provides", zero_shot.provides | {"tune"})
    run_quietly(*bench("METHODS", "[zero_shot]", "SEEDS", "[1]"))
    assert seen[0].labels.tolist() == [0, 0, 1, 1]
    assert seen[0].x.shape == (4, 32)


@pytest.mark.usefixtures("meta_models")
@pytest.mark.parametrize("name", list_methods())
def test_every_method_runs_through_the_same_loop(bench, name):
    records, _ = run_quietly(
        *bench("PROTOCOL", "few_shot", "METHODS", f"[{name}]", "SEEDS", "[1]", "OPTIM.EPOCHS", "1")
    )
    assert records[0].scores[0].total == 12
    assert bool(records[0].steps) == bool(records[0].trainable_parameters)


def test_records_of_methods_that_learn_nothing_say_so(bench):
    records, _ = run_quietly(*bench())
    zero_shot = records[0]
    assert (zero_shot.deterministic, zero_shot.shots, zero_shot.seed, zero_shot.train_items) == (True, 0, 0, 0)
    assert zero_shot.notes == ()


@pytest.mark.parametrize("name", ["coop", "maple"])
def test_towers_may_run_in_bf16_while_learnt_tensors_stay_fp32(bench, name):
    config, shared = bench("METHODS", f"[{name}]", "SEEDS", "[1]", "PRECISION", "bf16")
    records, _ = run_quietly(config, shared)
    assert records[0].identity["precision"] == "bf16"
    learnt = load_file(plan(config, shared).runs[0].folder / LEARNT_FILE)
    assert {tensor.dtype for tensor in learnt.values()} == {torch.float32}


@pytest.fixture
def two_datasets(monkeypatch, tmp_path):
    """The data sets "noise" and "other", which has names of its own."""

    def other(root, **options):
        dataset = synthetic_dataset(tmp_path / "other", "other")
        renamed = (tuple(replace(i, classname=f"painted {i.classname}") for i in part) for part in dataset.split)
        return replace(dataset, split=Split(*renamed))

    noise = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", noise), "other": ("mini", other)})


CROSS = ["PROTOCOL", "cross_dataset", "DATASETS", "[noise]", "SEEDS", "[1]"]


def test_cross_dataset_learns_once_and_tests_with_the_names_of_every_target(bench, two_datasets, monkeypatch):
    given = []
    coop = method_class("coop")
    make, set_classes = coop.__init__, coop.set_classes
    monkeypatch.setattr(
        coop, "__init__", lambda self, b, classes, c: (given.append(classes), make(self, b, classes, c))[1]
    )
    monkeypatch.setattr(
        coop, "set_classes", lambda self, classes: (given.append(classes), set_classes(self, classes))[1]
    )
    records, _ = run_quietly(*bench(*CROSS, "METHODS", "[coop]"))
    (record,) = records
    assert [(score.name, score.total) for score in record.scores] == [("noise", 12), ("other", 12)]
    assert record.train_items == 8
    assert record.score("other").classnames == tuple(f"painted {name}" for name in NAMES)
    assert given[-2].classnames == NAMES  # the first pair is the probe's
    assert given[-1] == record.score("other").classnames


def test_cross_dataset_needs_somewhere_to_test(bench):
    with pytest.raises(ValueError, match="needs a data set to test on besides the one to learn from"):
        plan(*bench(*CROSS))


FAMILIES = ["DATASETS", "[noise]", "DATA.FAMILIES", "[ink]", "TARGETS", "[oil, chalk]"]


@pytest.mark.parametrize(
    ("protocol", "words", "tests"),
    [
        ("few_shot", ["DATASETS", "[noise]"], ["all"]),
        ("base_to_novel", ["DATASETS", "[noise]"], ["base", "new"]),
        ("cross_dataset", ["DATASETS", "[noise]"], ["noise", "other", "another"]),
        ("domain_generalization", FAMILIES, ["oil", "chalk"]),
    ],
)
def test_all_tests_of_a_protocol_share_one_training(bench, monkeypatch, tmp_path, protocol, words, tests):
    def painted(root, train_families="", test_family=""):
        return synthetic_dataset(tmp_path / f"noise {test_family}", "noise")

    loaders = {name: ("mini", lambda root, name=name: synthetic_dataset(tmp_path / name, name)) for name in tests[1:]}
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", painted), **loaders})
    trained, train = [], trainers.runs.learning.train
    monkeypatch.setattr(trainers.runs.learning, "train", lambda *args: (trained.append(args[0]), train(*args))[1])
    config, shared = bench("PROTOCOL", protocol, *words, "METHODS", "[coop]", "LAUNCH.REPLICAS", "1")
    records, _ = run_quietly(config, shared)
    assert len(trained) == len(records) == 2  # one per seed, however many tests it has
    assert [[score.name for score in record.scores] for record in records] == [tests, tests]
    assert len(list(shared.out.rglob(LEARNT_FILE))) == 2


def domains_of(dataset, names):
    """ImageNet-A as a data set whose classes are some of the source's, in another order of labels."""
    label = {name: index for index, name in enumerate(names)}
    items = tuple(replace(i, label=label[i.classname]) for i in dataset.split.test if i.classname in label)
    return {"imagenet_a": replace(dataset, split=Split((), (), items))}


@pytest.mark.parametrize("class_specific", [False, True])
def test_a_variant_with_fewer_classes_is_classified_among_these_alone(tmp_path, monkeypatch, class_specific):
    monkeypatch.setattr(domains, "imagenet_labels", lambda name: (2, 0))
    dataset = synthetic_dataset(tmp_path)
    task = domain_generalization(dataset, 2, 1, targets=domains_of(dataset, (NAMES[2], NAMES[0])))
    _, variant = task.tests
    assert (variant.classnames, variant.learnt_labels, len(variant.items)) == ((NAMES[2], NAMES[0]), (2, 0), 6)
    backbone = build("clip_vit", torch.float64)  # a scale of 100 makes much of float32's rounding
    method = create_method("coop", backbone, task.classnames, n_ctx=2, class_specific=class_specific)
    x = torch.randn(6, backbone.embed_dim, dtype=torch.float64)
    expected = method.logits(x)[:, [2, 0]]
    keeps_classes = set_classes(method, variant)
    assert keeps_classes is class_specific  # one context per class cannot be given other names
    logits = method.logits(x)
    torch.testing.assert_close(logits[:, list(variant.learnt_labels)] if keeps_classes else logits, expected)


def test_all_methods_leave_out_those_that_cannot_take_part_and_say_why(bench):
    config, shared = bench("METHODS", "[all]", "SEEDS", "[1]")
    todo = plan(config, shared)
    ran = {run.config.method for run in todo.runs}
    assert "tip_adapter" not in ran
    assert {"zero_shot", "coop", "maple"} <= ran
    assert ran | set(todo.left_out) == set(list_methods())
    assert any(note.startswith("tip_adapter is left out: it would be tested on names") for note in todo.notes)


def test_an_oracle_selects_on_the_test_images_and_is_stamped(bench):
    words = ["PROTOCOL", "few_shot", "METHODS", "[zero_shot, tip_adapter]", "SEEDS", "[1]"]
    fair, _ = run_quietly(*bench(*words))
    oracle, _ = run_quietly(*bench(*words, "SELECTION", "oracle"))
    stamp = "oracle: hyper-parameters were selected on the test images"
    assert [stamp in record.notes for record in (*fair, *oracle)] == [False, False, False, True]
    assert fair[1].run_id != oracle[1].run_id
    assert fair[0].run_id == oracle[0].run_id
    assert oracle[1].scores[0].accuracy >= fair[1].scores[0].accuracy
    with pytest.raises(ConfigError, match="coop cannot run in few_shot: it selects no hyper-parameters"):
        plan(*bench("PROTOCOL", "few_shot", "METHODS", "[coop]", "SELECTION", "oracle"))


@pytest.mark.parametrize("source", ["held_out_base", "dataset_new"])
@pytest.mark.filterwarnings("ignore:ogen sees the names")
def test_ogen_sees_names_of_the_tests_where_it_is_asked_to_alone_and_every_table_says_so(bench, monkeypatch, source):
    words, novel = [], [name.replace("_", " ") for name in NAMES[2:]]
    tokenizer_words, begin, test, seen = Tokenizer.words, trainers.runs.execute.begin, trainers.runs.execute._test, []

    def spied_words(self, text, behind=""):
        words.append(text)
        return tokenizer_words(self, text, behind)

    def spied_begin(*rest):
        words.clear()  # of the plan, which measures all names
        return begin(*rest)

    def spied_test(*rest):
        seen.append(any(name in text for text in words for name in novel))
        return test(*rest)

    config, shared = bench("METHODS", "[coop]", "SEEDS", "[1]", "OBJECTIVE", "[ogen]", "OGEN.UNKNOWN_NAMES", source)
    monkeypatch.setattr(Tokenizer, "words", spied_words)
    monkeypatch.setattr(trainers.runs.execute, "begin", spied_begin)
    monkeypatch.setattr(trainers.runs.execute, "_test", spied_test)
    (record,), _ = run_quietly(config, shared)
    assert seen[0] == (source == "dataset_new")
    (note,) = [note for note in record.notes if note.startswith("ogen: ")]
    assert f"unknown_names: {source}" in note
    assert ("seen in training" in note) == (source == "dataset_new")
    made = tables([record], config.settings.datasets)
    assert f"coop+ogen: {note}" in made[0].notes
    assert record.identity["objective"][0][1]["unknown_names"] == source


def test_names_of_the_tests_are_refused_where_no_test_has_others(bench):
    words = ["PROTOCOL", "few_shot", "METHODS", "[coop]", "SEEDS", "[1]", "OBJECTIVE", "[ogen]"]
    with pytest.raises(ConfigError, match="coop cannot run in few_shot: its objective asks for names of classes"):
        plan(*bench(*words, "OGEN.UNKNOWN_NAMES", "dataset_new"))


def test_a_method_without_labels_may_learn_from_all_images_and_is_stamped(bench):
    words = ["METHODS", "[zero_shot, promptkd]", "SEEDS", "[1]", "OPTIM.BATCH_SIZE", "4"]
    fair, _ = run_quietly(*bench(*words))
    full, _ = run_quietly(*bench(*words, "UNLABELLED", "all"))
    assert fair[0].run_id == full[0].run_id  # zero-shot learns from none
    assert "unlabelled" not in fair[1].identity
    assert (full[1].identity["unlabelled"], full[1].identity["transductive"]) == ("all", True)
    assert full[1].train_items > fair[1].train_items
    assert f"unlabelled: learnt from all {full[1].train_items} training images, without their labels" in full[1].notes
    assert any(note.startswith("transductive: images and names of classes") for note in full[1].notes)
    assert [score.classnames for score in full[1].scores] == [score.classnames for score in fair[1].scores]
    few = plan(*bench(*words, "PROTOCOL", "few_shot", "UNLABELLED", "all")).runs
    assert [run.identity.get("transductive") for run in few] == [None, False]
    with pytest.raises(ConfigError, match="coop cannot run in base_to_novel: it learns from labels, and UNLABELLED"):
        plan(*bench("METHODS", "[coop]", "UNLABELLED", "all"))


def test_label_smoothing_is_refused_where_no_label_is_read(bench):
    with pytest.raises(ConfigError, match=r"promptkd cannot run in .*: promptkd learns without labels, so OPTIM.LABEL"):
        plan(*bench("METHODS", "[promptkd]", "OPTIM.LABEL_SMOOTHING", "0.1"))


def test_a_training_that_diverges_leaves_its_last_good_state(bench, monkeypatch):
    coop = method_class("coop")
    steps, loss = [], coop.loss

    def breaking(self, x, labels):
        steps.append(1)
        return loss(self, x, labels) * (float("nan") if len(steps) == 3 else 1)

    monkeypatch.setattr(coop, "loss", breaking)
    config, shared = bench("METHODS", "[coop]", "SEEDS", "[1]")
    (run,) = plan(config, shared).runs
    with pytest.raises(
        RunsFailedError, match=r"coop on noise, seed 1: the loss is nan at step 2 .*after 2 epochs, is "
    ) as e:
        run_quietly(config, shared)
    path = run.folder / LAST_GOOD_FILE
    assert str(path) in str(e.value)
    assert load_file(path)["context.ctx"].isfinite().all()
    monkeypatch.setattr(coop, "loss", loss)
    run_quietly(config, shared)
    assert not path.exists()


def test_the_papers_recipe_is_stamped(bench):
    words = ["METHODS", "[zero_shot, coop]", "SEEDS", "[1]", "RECIPE", "paper", "SUITE", "mini", "DATASETS", "[noise]"]
    records, _ = run_quietly(*bench(*words, "BACKBONE.NAME", "tiny"))
    assert "recipe of the paper: configs/paper/coop_base_to_novel.yaml" in records[1].notes
    assert "OPTIM.EPOCHS is 3 (recipe: 200)" in records[1].notes
    assert records[0].notes == ()


def test_own_images_run_and_say_how_many_were_left_out(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "my photos"
    synthetic_dataset(tmp_path / "made", train=6)
    for label, name in enumerate(("Golden Retriever", "Ramen", "Sunset", "Taxi")):
        (photos / name).mkdir(parents=True)
        for image in (tmp_path / "made" / "train").glob(f"{label}_*"):
            image.rename(photos / name / image.name)
    (photos / "Ramen" / "broken.png").write_bytes(b"no image")
    words = ["DATA.OWN", f"['{photos}']", "METHODS", "[zero_shot, coop]", "SEEDS", "[1]"]
    with pytest.raises(ValueError, match=r"1 images cannot be read: 'Ramen/broken\.png'.*--skip-bad"):
        plan(*bench(*words))
    for protocol, tests in (("base_to_novel", ["base", "new"]), ("few_shot", ["all"])):
        config, shared = bench(*words, "DATA.SKIP_BAD", "true", "PROTOCOL", protocol)
        records, _ = run_quietly(config, shared)
        assert [score.name for score in records[1].scores] == tests
        assert (records[1].dataset, records[1].suite) == ("my photos", "own")
        assert "1 unreadable images were left out" in records[0].notes
    other = plan(*bench(*words, "DATA.SKIP_BAD", "true", "DATA.TEMPLATES", "['art of a {}.']"))
    assert other.runs[0].identity["templates"] == ["art of a {}."]
    assert not other.finished


def test_another_draw_is_a_run_of_its_own_and_says_so(bench):
    ours, theirs = (plan(*bench("METHODS", "[coop]", "DATA.DRAW", draw)).runs[0] for draw in ("coop", "clip_lora"))
    assert "draw" not in ours.identity
    assert theirs.identity["draw"] == "clip_lora"
    config, shared = bench("METHODS", "[zero_shot, coop]", "SEEDS", "[1]", "DATA.DRAW", "clip_lora")
    zero_shot, coop = run_quietly(config, shared)[0]
    assert not any("draw" in note for note in zero_shot.notes)
    assert any("few-shot draw of clip_lora's code" in note for note in coop.notes)


def test_a_context_that_leaves_no_room_for_the_longest_name_is_refused_before_any_run(bench):
    config, shared = bench("COOP.N_CTX", "72")
    with pytest.raises(ConfigError, match=r"coop cannot run in base_to_novel: class name '.*' needs .*lower n_ctx"):
        plan(config, shared)


def test_rows_that_are_too_many_to_keep_are_encoded_when_they_are_shown(bench, monkeypatch):
    words = ["METHODS", "[coop]", "WRAP", "[fdt]", "SEEDS", "[1]", "FDT.N_CODES", "16", "VIEWS.AUGMENT", "pool"]
    (kept,), _ = run_quietly(*bench(*words))
    monkeypatch.setattr(trainers.feeding.encoder, "MOST_BYTES", 0)
    (streamed,), _ = run_quietly(*bench(*words, out="streamed"))
    assert kept.label == "coop+fdt"
    assert streamed.run_id == kept.run_id
    assert streamed.final_loss == pytest.approx(kept.final_loss, rel=1e-3)
    assert [score.accuracy for score in streamed.scores] == [score.accuracy for score in kept.scores]


def test_a_wrapped_run_feeds_the_method_inside_the_features_it_would_have_alone(bench):
    alone, _ = run_quietly(*bench("METHODS", "[zero_shot]"))
    (wrapped, *_), _ = run_quietly(*bench("METHODS", "[zero_shot]", "WRAP", "[fdt]", "FDT.WEIGHT", "0.0"))
    assert [score.hits for score in wrapped.scores] == [score.hits for score in alone[0].scores]
    assert [score.metrics for score in wrapped.scores] == [score.metrics for score in alone[0].scores]
