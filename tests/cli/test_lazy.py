"""The list of commands costs no import of theirs, and is right all the same."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from tests.cli.test_main import xdplb
from xdplb.cli.lazy import Lazy
from xdplb.cli.main import _COMMANDS, _HELPS, cli


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_what_the_list_says_is_what_the_command_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command
    assert _HELPS.get(name) == command.get_short_help_str(200)


def test_nothing_is_helped_that_is_not_there() -> None:
    assert list(_HELPS) == list(_COMMANDS)


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from xdplb.cli.main import cli; cli.main(['--help'], standalone_mode=False);"
        "print(*sorted(m for m in sys.modules if m.startswith('xdplb.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stdout.splitlines()[-1]
    assert last == "xdplb.cli xdplb.cli.lazy xdplb.cli.main xdplb.cli.names xdplb.errors"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["backend", "drian"], "No such command 'drian'. (Did you mean one of: 'drain', 'undrain'?)"),
        (["status", "--jsno"], "No such option '--jsno'. Did you mean '--json'?"),
    ],
)
def test_what_is_nearly_right_is_suggested(typed: list[str], words: str) -> None:
    done = xdplb(*typed)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_command_without_a_line_is_listed_all_the_same() -> None:
    group = Lazy({"status": "xdplb.cli.status:status"}, {}, name="x")
    context = click.Context(group)
    assert "status  Show services, backends and counters." in group.get_help(context)
    assert [item.value for item in group.shell_complete(context, "st")] == ["status"]
