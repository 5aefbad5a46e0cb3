"""docs/methods.md names every option of every method and nothing else."""

import dataclasses
import re
from pathlib import Path

import pytest

from adaptkit import list_methods, method_config

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")


def options_on_the_page(method):
    rows = [row.split("|")[1:4] for row in PAGE.splitlines() if row.startswith("| ")]
    cells = [option for names, option, _ in rows if method in [name.strip() for name in names.split(",")]]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.mark.parametrize("method", list_methods())
def test_the_page_names_every_option(method):
    fields = [field.name for field in dataclasses.fields(method_config(method))]
    assert sorted(options_on_the_page(method)) == sorted(fields)
