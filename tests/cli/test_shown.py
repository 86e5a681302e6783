"""Reading commands: once or again and again, for people or machines, in colours or without."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.rig.terminal import Terminal
from xdplb.cli.main import cli
from xdplb.cli.shown import Shown, shown
from xdplb.errors import DaemonError

# A command of a few lines, in a process of its own. What it finds is a number that grows; at 3 the daemon is away.
PROGRAM = """
import itertools, click
from xdplb.cli import main
from xdplb.cli.shown import Shown, shown
from xdplb.errors import DaemonError

numbers = itertools.count(1)

@click.command()
@shown
def look():
    number = next(numbers)
    if number == AWAY_AT:
        raise DaemonError("no daemon answers; start it")
    return Shown({"number": number}, [click.style(f"number {number}", fg="green"), *map(str, range(100, 140))])

main._COMMANDS["look"] = "__main__:look"
main.main()
"""


@dataclass
class Look:
    """Started with what was typed, in a pipe or with the streams that are given."""

    arguments: list[str]
    away_at: int = 0
    streams: dict[str, Any] = field(default_factory=lambda: {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE})

    def __enter__(self) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", PROGRAM.replace("AWAY_AT", str(self.away_at)), "look", *self.arguments]
        self.child: subprocess.Popen[str] = subprocess.Popen(argv, text=True, start_new_session=True, **self.streams)
        return self.child

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()


@click.command()
@shown
def half() -> Shown:
    """Find something that is half well."""
    return Shown({"well": False}, ["not well"], 1)


def test_a_command_finds_and_the_decorator_prints() -> None:
    assert CliRunner().invoke(half, []).output == "not well\n"
    done = CliRunner().invoke(half, ["--json"])
    assert json.loads(done.output) == {"well": False}
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("typed", "words"),
    [("web", "'web' is no number of seconds; give one, or put --watch last"), ("0", "0 is out of range; give 0.1 to")],
)
def test_what_is_no_time_is_told(typed: str, words: str) -> None:
    done = CliRunner().invoke(half, ["--watch", typed])
    assert (done.exit_code, words in done.output) == (2, True)


def test_in_a_pipe_each_look_is_a_block_and_ctrl_c_ends_it_well() -> None:
    with Look(["--watch", "0.1"]) as child:
        assert child.stdout
        lines: Iterator[str] = (child.stdout.readline() for _ in range(85))
        blocks = re.split(r"-- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\n", "".join(lines))
        child.send_signal(signal.SIGINT)
        assert child.wait(5) == 0
    assert blocks[0] == ""
    assert [block.splitlines()[0] for block in blocks[1:3]] == ["number 1", "number 2"]


def test_json_is_one_document_a_line() -> None:
    with Look(["--watch=0.1", "--json"]) as child:
        assert child.stdout
        assert [json.loads(child.stdout.readline())["number"] for _ in range(3)] == [1, 2, 3]


def test_on_a_terminal_the_screen_is_painted_over_and_cut_to_its_height() -> None:
    with Terminal() as terminal, Look(["--watch", "0.1"], away_at=3, streams=terminal.streams) as child:
        painted = terminal.read(lambda text: "number 2" in text)
        assert painted.startswith("\x1b[H\x1b[?7l")
        assert "\x1b[32mnumber 1\x1b[0m\x1b[K" in painted
        first = painted.split("\x1b[J")[0]
        assert first.count("\n") == 23
        assert "... 21 more lines" in first
        # A daemon that is away for a moment is shown as such.
        terminal.read(lambda text: "no daemon answers; start it" in text and "number 4" in text)
        terminal.type("\x03")
        assert terminal.wait(child) == 0


def test_a_daemon_that_is_away_ends_what_a_script_reads() -> None:
    with Look(["--watch", "0.1", "--json"], away_at=2) as child:
        assert child.wait(5) == 1
        assert child.stderr
        assert child.stderr.read() == "xdplb: no daemon answers; start it\n"


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, False),
    ],
)
def test_colours_in_a_pipe(variables: dict[str, str], coloured: bool) -> None:
    streams = {"stdout": subprocess.PIPE, "env": {**os.environ, **variables}}
    with Look([], streams=streams) as child:
        out, _ = child.communicate(timeout=10)
    assert ("\x1b[32m" in out) is coloured


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_terminal(variables: dict[str, str], coloured: bool) -> None:
    with Terminal() as terminal:
        streams = {**terminal.streams, "env": {**terminal.streams["env"], **variables}}
        with Look(["--watch"], streams=streams):
            painted = terminal.read(lambda text: "more lines" in text)
    assert ("\x1b[32m" in painted) is coloured


def test_every_reading_command_can_be_watched_and_read_by_machines() -> None:
    for path in ("status", "services", "check", "check-config", "flows status", "guard find", "decap status"):
        command: click.Command | None = cli
        for word in path.split():
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command is not None
        assert {"as_json", "every_s"} <= {param.name for param in command.params}, path


def test_a_daemon_that_is_away_from_the_start_is_an_error() -> None:
    @click.command()
    @shown
    def nobody() -> Shown:
        raise DaemonError("no daemon answers")

    assert isinstance(CliRunner().invoke(nobody, ["--watch"]).exception, DaemonError)
