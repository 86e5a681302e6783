"""Every command's help ends with an example, and each of them works, on one box on which everything runs.

    \\b
    Example:
      xdplb status --json

A line of it is run as it stands, but for the balancer's name and /etc/xdplb.toml, which is the quickstart here.
Commands that last are run on a terminal, and ended by Ctrl-C when they have said something.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.docs.test_reference import commands
from tests.rig.net import QUICKSTART
from tests.rig.terminal import Terminal
from tools.lab.balancer import remove
from tools.lab.stand import ROOT, XDPLB, Stand
from xdplb import decap, state
from xdplb.cli.main import cli
from xdplb.dataplane.loader import Place

LASTING = {"run", "top", "decap run"}
LASTING_OPTIONS = {"--follow", "--watch"}
STATUSES = {"plan": {0, 2}, "apply": {0, 2}, "diff": {0, 2}, "doctor": {0, 1, 3}}  # the others end with 0
HOSTS = {"run": "client", "detach": "client", "decap run": "client", "decap detach": "client", "decap status": "b1"}

COMMANDS = [name.removeprefix("xdplb ") for name in commands(cli, "xdplb")]


def find(name: str) -> click.Command:
    command: click.Command = cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word) or pytest.fail(f"there is no {word}")
    return command


def examples(name: str) -> list[str]:
    """Return the lines of a command's example."""
    found = re.search(r"^\s*Example:\n((?: +xdplb .*\n?)+)", find(name).help or "", re.M)
    return [line.strip() for line in found[1].splitlines()] if found else []


def documents(text: str) -> list[Any]:
    """Return the JSON documents of an output: one, or one a line."""
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


@dataclass
class Box:
    """The balancer and what is around it."""

    stand: Stand

    def words(self, name: str, line: str) -> tuple[str, list[str]]:
        """Return on which host a line is run, and how."""
        host = HOSTS.get(name, "lb")
        own = f"{self.stand.name}-{'own' if host == 'client' else host}"
        words = [str(QUICKSTART) if word == "/etc/xdplb.toml" else word for word in shlex.split(line)[1:]]
        if name.startswith("decap "):
            return host, [*words, "--name", own]
        return host, ["--name", own if host == "client" else self.stand.name, *words]

    def last(self, host: str, words: list[str]) -> int:
        """Run a command on a terminal until it says something, press Ctrl-C, and return its status."""
        with Terminal() as terminal:
            child = self.stand.lab.spawn(host, [*XDPLB, *words], cwd=ROOT, **terminal.streams)
            terminal.read(lambda text: len(text.strip()) > 0)
            terminal.type("\x03")
            try:
                return terminal.wait(child)
            except subprocess.TimeoutExpired:
                child.kill()
                raise


@pytest.fixture(scope="module")
def box(stand_session: Stand) -> Iterator[Box]:
    stand_session.start_daemon(QUICKSTART)
    for host in stand_session.lab.backends:
        stand_session.wait_state(host, "up")
    yield Box(stand_session)
    stand_session.kill_daemon()
    stand_session.forget_balancer()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str) -> None:
    lines = examples(name)
    assert lines, f"the help of `xdplb {name}` ends without an example"
    assert all(line.startswith(f"xdplb {name}") for line in lines)


@pytest.mark.root
@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_work(box: Box, name: str) -> None:
    for line in examples(name):
        host, words = box.words(name, line)
        if (name in LASTING or LASTING_OPTIONS & set(words)) and "--once" not in words:
            assert box.last(host, words) in (0, 130), line
            continue
        with box.stand.lab.inside(host):
            done = CliRunner().invoke(cli, words)
        assert done.exit_code in STATUSES.get(name, {0}), (line, done.output, done.exception)
        if "--json" in words:
            assert documents(done.stdout), line
    own = f"{box.stand.name}-own"
    for place in (Place(own), decap.place_for(own)) if HOSTS.get(name) == "client" else ():
        remove(place)
        box.stand.lab.remove_at_down(state.directory(own))
