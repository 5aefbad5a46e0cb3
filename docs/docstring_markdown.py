"""The docstring of a method's module as Markdown: prose, equations, and what is not as in the paper."""

import html
import inspect
import re
from collections.abc import Iterable

MARKDOWN_SIGNS = re.compile(r"([\\*_{}\[\]<>#|])")
VERBATIM = re.compile(r"(`[^`]+`|https?://[^\s;,)]+|arXiv:\d{4}\.\d{4,5})")
DEPARTURE = re.compile(r"Departure(?P<whose> \(ours\))?: (?P<text>.*)")
PAGE_WIDTH = 92  # letters of a line of code


def docstring_as_markdown(doc: str) -> list[str]:
    """Paragraphs as prose, indented lines as equations, and "Departure:" lines as a list of their own."""
    blocks: list[tuple[str, list[str]]] = []
    last = ""
    for line in doc.splitlines():
        departure = DEPARTURE.match(line)
        if departure:
            whose, text = departure["whose"], departure["text"]
            blocks.append(("departure", [f"Ours alone: {text}" if whose else text[:1].upper() + text[1:]]))
            last = "departure"
            continue
        kind = "" if not line.strip() else "prose" if not line.startswith("    ") else "equation"
        if kind == "equation" and last == "departure":  # its second line
            kind = "departure"
        if kind and kind != last:
            blocks.append((kind, []))
        if kind:
            blocks[-1][1].append(line)
        last = kind
    departures = [lines for kind, lines in blocks if kind == "departure"]
    made: list[str] = []
    for kind, lines in blocks:
        if kind != "departure":
            made += [prose(lines) if kind == "prose" else equation(lines), ""]
    if departures:
        made += ["### Where it departs from the paper", "", *(f"- {prose(lines)}" for lines in departures), ""]
    return made


def prose(lines: Iterable[str]) -> str:
    """Lines as one paragraph that Markdown leaves as it is, its arXiv numbers and addresses as links."""
    parts = VERBATIM.split(" ".join(line.strip() for line in lines))
    return "".join(
        _verbatim(part) if place % 2 else MARKDOWN_SIGNS.sub(_escaped, part) for place, part in enumerate(parts)
    )


def _escaped(sign: re.Match[str]) -> str:
    return html.escape(sign[1]) if sign[1] in "<>" else f"\\{sign[1]}"


def _verbatim(part: str) -> str:
    if part.startswith("arXiv:"):
        return f"[{part}](https://arxiv.org/abs/{part.removeprefix('arXiv:')})"
    return part if part.startswith("`") else f"<{part}>"


def equation(lines: Iterable[str]) -> str:
    """Lines as they stand, in a block that wraps; gaps that line up remarks shrink where there is no room for them."""
    text = inspect.cleandoc("\n".join(lines))
    if max(map(len, text.splitlines())) > PAGE_WIDTH:
        text = re.sub(" {6,}", "    ", text)
    return f'<pre class="equation"><code>{html.escape(text, quote=False)}</code></pre>'
