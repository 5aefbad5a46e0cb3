"""Code blocks of a Markdown page: found, and run as they stand."""

import re
import shlex
import types
from dataclasses import dataclass

import pytest
import torch

from trainers.cli import main
from trainers.cli.command import build_parser

FENCE = re.compile(
    r"^(?:<!-- (?P<mark>parsed only|not run|not run here): [^\n]+ -->\n)?"
    r"```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELL, DATA = ("bash", "sh", ""), ("text", "yaml", "json")


@dataclass(frozen=True)
class Block:
    language: str
    mark: str | None
    code: str
    line: int


def blocks_of(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        line = text[: match.start("code")].count("\n") + 1
        found.append(Block(match["language"], match["mark"], match["code"], line))
    return found


def commands_of(code: str) -> list[list[str]]:
    """The words of each command of a shell block."""
    lines = code.replace("\\\n", " ").splitlines()
    commands = [part for line in lines for part in line.split("&&")]
    return [words for command in commands if (words := shlex.split(command, comments=True))]


def run_page(text: str, where: str, world: types.ModuleType) -> None:
    for block in blocks_of(text):
        place = f"{where}, line {block.line}"
        if block.mark in ("not run", "not run here") or block.language in DATA:
            continue
        if block.language == "python":
            torch.manual_seed(0)
            exec(compile("\n" * block.line + block.code, where, "exec"), world.__dict__)
            continue
        assert block.language in SHELL, f"{place}: a block of {block.language!r}; use python, bash, yaml, json or text"
        for words in commands_of(block.code):
            if block.mark == "parsed only":
                parse(words, place)
            else:
                assert words[0] == "adaptkit", f"{place}: say above the block why {words[0]!r} is not run"
                assert main(words[1:]) == 0, f"{place}: {' '.join(words)}"


def parse(words: list[str], place: str) -> None:
    if words[0] != "adaptkit":
        return
    parser = build_parser()
    try:
        args, rest = parser.parse_known_args(words[1:])
    except SystemExit as error:
        if error.code:
            pytest.fail(f"{place}: `{' '.join(words)}` is no command")
        return  # --help
    assert not [word for word in rest if word.startswith("-")], f"{place}: {' '.join(words)}"
    assert not rest or hasattr(args, "overrides"), f"{place}: {' '.join(words)}"
