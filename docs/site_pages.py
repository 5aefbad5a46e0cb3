"""Pages that are written from the code, each time the site is built: methods, wrappers and examples.

What a method is stands in its module, its options in its dataclass, its recipe in configs/, its numbers in
benchmarks/results/. A page that repeats them by hand is wrong a week later.
"""

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from statistics import mean

from docstring_markdown import docstring_as_markdown  # beside this file, where mkdocs looks for it
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import adaptkit
from adaptkit.contract.registry import METHODS
from adaptkit.options import describe
from trainers.cli.method_facts import MethodFacts, method_facts, models_of_shapes

ROOT = Path(__file__).parent.parent
EXAMPLES = Path(__file__).parent / "examples"
SYSTEMS = Path(__file__).parent / "systems"
RESULTS = ROOT / "benchmarks" / "results" / "base_to_novel.json"
PLOTS = ROOT / "benchmarks" / "results" / "plots"
ENCODED = {
    "images": "images",
    "features": "backbone.encode_image(images)",
    "tokens": "backbone.encode_tokens(images)",
}
TOUCHES = {
    "before": "Before the towers: prompts",
    "inside": "Inside the towers: weights",
    "after": "After the towers: features",
    "class_side": "On the side of the classes: texts",
    "test_time": "At test time: unlabelled images",
    None: "Elsewhere",
}
# What a page that other Markdown readers show as well writes for a picture beside docs/, and where the site has it.
PICTURES, PICTURES_HERE = "(../benchmarks/results/plots/", "(plots/"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give the generated pages their places in the navigation."""
    sections = {title: entries for entry in config.nav or [] for title, entries in entry.items()}
    sections["Methods"].extend({title: own} for title, own in methods_by_place().items())
    sections["Wrappers"].extend({name: f"wrappers/{name}.md"} for name in adaptkit.list_wrappers())
    sections["Systems"].append({"Claims and measurements": "seed_systems.md"})
    sections["Systems"].extend({path.stem: f"systems/{path.name}"} for path in sorted(SYSTEMS.glob("*.md")))
    sections["Examples"].extend({title_of(path): f"examples/{path.stem}.md"} for path in example_files())
    return config


def methods_by_place() -> dict[str, list[dict[str, str]]]:
    """Where a method touches CLIP -> the pages of the methods that do so."""
    grouped: dict[str, list[dict[str, str]]] = {title: [] for title in TOUCHES.values()}
    for name in adaptkit.list_methods():
        grouped[TOUCHES[METHODS.get(name).touches]].append({name: f"methods/{name}.md"})
    return {title: pages for title, pages in grouped.items() if pages}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the pictures of the results."""
    for place, text in generated_pages().items():
        files.append(File.generated(config, place, content=text))
    for picture in PLOTS.glob("*.svg"):
        files.append(File.generated(config, f"plots/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have links to pictures of the results point to their copies on the site."""
    return markdown.replace(PICTURES, PICTURES_HERE)


def generated_pages() -> dict[str, str]:
    """Place in the documentation -> Markdown."""
    facts = {row.name: row for row in method_facts(adaptkit.list_methods(), *models_of_shapes())}
    pages = {f"methods/{name}.md": method_page(name, facts[name]) for name in adaptkit.list_methods()}
    pages |= {f"wrappers/{name}.md": wrapper_page(name) for name in adaptkit.list_wrappers()}
    return pages | {f"examples/{path.stem}.md": example_page(path) for path in example_files()}


def method_page(name: str, facts: MethodFacts) -> str:
    """What a method is, needs, can be told, is trained with, and has reached."""
    paper = f"[arXiv:{facts.paper}](https://arxiv.org/abs/{facts.paper})" if facts.paper else "–"
    recipe = (resources.files("configs") / "methods" / f"{name}.yaml").read_text(encoding="utf-8")
    return "\n".join(
        [
            f"# {name}",
            "",
            f"{facts.summary}",
            "",
            f"| touches CLIP | {TOUCHES[METHODS.get(name).touches].lower()} |",
            "|---|---|",
            f"| trains on | {facts.trains_on} |",
            f"| needs | {facts.needs} |",
            f"| learns, on ViT-B/16 with 100 classes of 16 shots | {facts.parameters:,} numbers |",
            f"| paper | {paper} |",
            "",
            "## What it computes",
            "",
            *what_it_computes(adaptkit.method_class(name)),
            "## Use",
            "",
            *use(name, facts.trains_on),
            "",
            *options(adaptkit.method_config(name)),
            "## Recipe",
            "",
            f"`configs/methods/{name}.yaml`, over the defaults of `OptimConfig` and `ViewConfig`:",
            "",
            "```yaml",
            recipe.rstrip(),
            "```",
            "",
            "## Results on the embedded suite",
            "",
            results(name),
        ]
    )


def wrapper_page(name: str) -> str:
    """What a wrapper does and can be told."""
    return "\n".join(
        [
            f"# {name}",
            "",
            "A wrapper stands around a method; [the table](../composition.md) says around which.",
            "",
            *what_it_computes(adaptkit.wrapper_class(name)),
            *options(adaptkit.wrapper_config(name)),
        ]
    )


def what_it_computes(thing: type) -> list[str]:
    """The docstring of the module that a class stands in, less its first line, as Markdown."""
    doc = inspect.cleandoc(sys.modules[thing.__module__].__doc__ or "")
    return docstring_as_markdown(doc.partition("\n")[2])


def use(name: str, trains_on: str) -> list[str]:
    """A few lines of Python that run as they stand, and the command."""
    return [
        "```python",
        "import torch",
        "import adaptkit",
        "",
        'backbone = adaptkit.load_backbone("adaptkit-mini")',
        f'method = adaptkit.create_method("{name}", backbone, ["corgi", "husky", "wolf"]{small_options(name)})',
        "images, labels = torch.rand(6, 3, 48, 48), torch.arange(6) % 3",
        f"x = {ENCODED[trains_on]}",
        "# for the methods that look at all training images first",
        "method.prepare(adaptkit.Support(x, labels))",
        "# gradients of one batch; step method.learnt_parameters() with any optimiser",
        "method.backward(x, labels)",
        "print(method(images).shape)  # logits (6, 3)",
        "```",
        "",
        "<!-- parsed only: a training takes longer than a test may -->",
        "```bash",
        f"adaptkit train {name} --data photos --out my_adapter",
        f"adaptkit bench --methods {name} --datasets emoji_food --seeds 1",
        "```",
    ]


def small_options(name: str) -> str:
    """The embedded model's prompts have 24 tokens."""
    has_ctx = "n_ctx" in {field.name for field in dataclasses.fields(adaptkit.method_config(name))}
    return ", n_ctx=4" if has_ctx else ""


def options(config: type) -> list[str]:
    """The options of a dataclass as a table; nothing where there are none."""
    rows = [(f"`{fact.name}`", f"`{fact.default!r}`", fact.takes, fact.help) for fact in describe(config)]
    if not rows:
        return []
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["## Options", "", "| option | default | takes | meaning |", "|---|---|---|---|", *lines, ""]


def results(name: str) -> str:
    """Mean accuracies of the stored runs of `adaptkit bench`."""
    runs = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"]
    rows = list(_rows([run for run in runs if run.get("label", run["method"]) == name]))
    if not rows:
        return (
            "The stored bench (`benchmarks/results/base_to_novel.json`) has no run of it; `adaptkit bench` makes one."
        )
    head = ["Base to novel, mean over seeds, in percent:", "", "| data set | shots | seeds | base | new |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows])


def _rows(runs: list[dict]) -> Iterator[str]:
    for dataset in dict.fromkeys(run["dataset"] for run in runs):
        own = [run for run in runs if run["dataset"] == dataset]
        base, new = (mean(run["accuracy"][half] for run in own) for half in ("base", "new"))
        yield f"| {dataset} | {own[0]['shots']} | {len(own)} | {base:.1f} | {new:.1f} |"


def example_files() -> list[Path]:
    """The scripts in percent format, in the order of their names."""
    return sorted(EXAMPLES.glob("*.py"))


def title_of(path: Path) -> str:
    """The heading of an example's first cell."""
    match = re.search(r"^# # (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None, path
    return match[1]


def example_page(path: Path) -> str:
    """A script in percent format as a page: Markdown cells as text, code cells as code."""
    parts = [f"<!-- not run here: docs/examples/{path.name} itself is run -->"]
    for cell in re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            parts.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip())
        else:
            parts.append(f"<!-- not run here: it is run as a script -->\n```python\n{body.strip()}\n```")
    return "\n\n".join([*parts, f"The script: `docs/examples/{path.name}`."]) + "\n"
