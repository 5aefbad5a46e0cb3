"""trainers -> adaptkit, trainers -> datasets_fewshot, and nothing back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"adaptkit": {"trainers", "datasets_fewshot"}, "datasets_fewshot": {"trainers", "adaptkit"}}


def imports(tree: ast.AST) -> set[str]:
    """Top-level packages that a module imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_nothing_is_imported_against_the_street(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        against = imports(ast.parse(path.read_text(encoding="utf-8"))) & FORBIDDEN[package]
        assert not against, f"{path.relative_to(ROOT)} imports {against}"
