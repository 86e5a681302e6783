"""`python -m tools.man DIR`: write the manual pages: xdplb(1), one for each command, and xdplb.toml(5).

Pages of commands come from what `--help` says, the others' tables from docs/, so nothing is said twice. `click-man` was
looked at: it lists no commands that are imported late, and loses examples and what roff would take for its own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

from xdplb import __version__
from xdplb.cli.main import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"
FILES = (
    ("/run/xdplb/NAME/admin.sock", "the socket by which commands ask the daemon"),
    ("/sys/fs/bpf/xdplb/NAME", "program and tables, which outlive the daemon"),
    ("/var/lib/xdplb/NAME", "what operators changed, and the hash key"),
)
ENVIRONMENT = (
    ("XDPLB_NAME", "the name of the balancer, where --name is not given"),
    ("NO_COLOR", "when it is not empty, no colours"),
    ("FORCE_COLOR", "when it is not empty, colours in pipes, too"),
)


def escape(text: str) -> str:
    """Return text that roff prints as it is: no commands at a line's begin, no escapes, minus signs to copy."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def bold(text: str) -> str:
    """Return text as what is typed."""
    return f"\\fB{escape(text)}\\fR"


def marked(text: str) -> str:
    """Return text in which `what is typed` is bold, as help has it."""
    return "".join(bold(part) if n % 2 else escape(part) for n, part in enumerate(text.split("`")))


def head(name: str, section: int, short: str) -> list[str]:
    """Return how a page begins; without a date, so that the same source makes the same page."""
    title = f'.TH "{escape(name.upper())}" {section} "" "xdplb {__version__}" "xdplb manual"'
    return [title, ".SH NAME", f"{escape(name)} \\- {marked(short.rstrip('.'))}"]


def entries(pairs: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[str]:
    """Return a list of words and what they mean."""
    return [line for word, meaning in pairs for line in (".TP", bold(word), marked(meaning))]


# --- pages of commands -----------------------------------------------------------------------------------------


def command_pages(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Yield the file and the text of a command's page, and of those below it."""
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    page = context.command_path.replace(" ", "-")
    below = []
    if isinstance(command, click.Group):
        below = [(n, c) for n in command.list_commands(context) if (c := command.get_command(context, n))]
    yield f"{page}.1", command_page(context, page, below)
    for other, child in below:
        yield from command_pages(child, other, context)


def command_page(context: click.Context, page: str, below: list[tuple[str, click.Command]]) -> str:
    """Return the text of one page."""
    command = context.command
    paragraphs, example = _help(command)
    lines = head(page, 1, command.get_short_help_str(200))
    pieces = command.collect_usage_pieces(context)
    lines += [".SH SYNOPSIS", f"{bold(context.command_path)} {escape(' '.join(pieces))}"]
    lines += [".SH DESCRIPTION", *[line for text in paragraphs for line in (".PP", marked(text))]]
    options = [param for param in command.get_params(context) if isinstance(param, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    lines += [".SH OPTIONS", *entries(tuple(records))]
    if below:
        lines.append(".SH COMMANDS")
        lines += entries(tuple((f"{page}-{n}(1)", c.get_short_help_str(200)) for n, c in below))
    if context.parent is None:
        lines += [".SH EXIT STATUS", *table(section("commands.md", "| exit status |"))]
        lines += [".SH ENVIRONMENT", *entries(ENVIRONMENT), ".SH FILES", *entries(FILES)]
    if example:
        lines += [".SH EXAMPLES", ".nf", *[escape(line.strip()) for line in example], ".fi"]
    others = "xdplb.toml(5)" if context.parent is None else "xdplb(1), xdplb.toml(5)"
    return "\n".join([*lines, ".SH SEE ALSO", escape(others), ""])


def _help(command: click.Command) -> tuple[list[str], list[str]]:
    """Return the paragraphs of a command's help, and the lines of its example."""
    paragraphs: list[str] = []
    example: list[str] = []
    for part in re.split(r"\n\s*\n", cleandoc(command.help or "")):
        first, *rest = part.strip("\b\n ").splitlines()
        if first == "Example:":
            example = rest
        else:
            paragraphs.append(" ".join([first, *(line.strip() for line in rest)]))
    return paragraphs, example


# --- pages from docs/ ------------------------------------------------------------------------------------------


def section(file: str, begin: str) -> str:
    """Return the table of a document that begins so."""
    return begin + (DOCS / file).read_text("utf-8").split(begin, 1)[1].split("\n\n", 1)[0]


def table(text: str) -> list[str]:
    """Return a Markdown table as roff."""
    return render(MarkdownIt().enable("table").parse(text))


def config_page() -> str:
    """Return the page of the configuration file."""
    text = (DOCS / "config.md").read_text("utf-8").partition("\n")[2]
    lines = head("xdplb.toml", 5, "configuration of the load balancer xdplb")
    lines += [".SH DESCRIPTION", *render(MarkdownIt().enable("table").parse(text))]
    return "\n".join([*lines, ".SH SEE ALSO", escape("xdplb(1), xdplb-check-config(1), xdplb-run(1)"), ""])


def render(tokens: list[Token]) -> list[str]:
    """Return a document as roff: headings, paragraphs, lists, code, and tables as lists of their first column."""
    lines: list[str] = []
    titles: list[str] = []
    cells: list[str] = []
    for token, kind in ((token, token.type) for token in tokens):
        if kind == "heading_open":
            lines.append(".SH" if token.tag in ("h1", "h2") else ".SS")
        elif kind == "paragraph_open":
            lines.append(".PP")
        elif kind == "list_item_open":
            lines.append(".IP \\(bu 2")
        elif kind in ("fence", "code_block"):
            lines += [".PP", ".nf", *escape(token.content).splitlines(), ".fi"]
        elif kind == "thead_open":
            titles, cells = [], []
        elif kind == "tr_open":
            cells = []
        elif kind == "inline" and token.level >= 4 and token.map:  # in a table: a list's items are not so deep here
            cells.append(inline(token))
        elif kind == "inline":
            lines.append(inline(token))
        elif kind == "thead_close":
            titles = cells
        elif kind == "tr_close" and titles:
            lines += row(titles, cells)
    # A paragraph directly below a list's bullet belongs on its line.
    return re.sub(r"(\.IP \\\(bu 2)\n\.PP", r"\1", "\n".join(lines)).split("\n")


def row(titles: list[str], cells: list[str]) -> list[str]:
    """Return a row as an entry of a list: what is between the first cell and the last one stands behind the first."""
    between = [f"{title}: {cell}" for title, cell in zip(titles[1:-1], cells[1:-1], strict=True) if cell]
    return [".TP", cells[0] + (f" ({'; '.join(between)})" if between else ""), cells[-1]]


def inline(token: Token) -> str:
    """Return a line of text; a link is its words."""
    parts = []
    for child in token.children or []:
        if child.type == "code_inline":
            parts.append(bold(child.content))
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        else:
            parts.append(escape(child.content))
    text = "".join(parts)
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.M)


def main(folder: Path) -> None:
    """Write all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = [*command_pages(cli, "xdplb"), ("xdplb.toml.5", config_page())]
    for file, text in pages:
        (folder / file).write_text(text, "utf-8")
    click.echo(f"{len(pages)} pages in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.man DIR")
    main(Path(sys.argv[1]))
