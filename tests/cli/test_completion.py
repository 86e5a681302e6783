"""Completion in the shells themselves, at a terminal, with names that a daemon tells."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_main import xdplb
from tests.cli.test_names import named, run_folder  # fixtures
from tests.rig.terminal import Terminal
from tools.lab.stand import ROOT

__all__ = ["named", "run_folder"]

SHELLS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "--interactive"],
}
PREPARE = {
    "bash": "PS1='ready> '; bind 'set bell-style none'; source <(xdplb completion bash)",
    "zsh": "PS1='ready> '; unsetopt beep; autoload -U compinit; compinit -u -D; source <(xdplb completion zsh)",
    "fish": "xdplb completion fish | source",
}
need = {name: pytest.mark.skipif(not shutil.which(name), reason=f"there is no {name}") for name in ("zsh", "fish")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder in which `xdplb` is this tree's."""
    command = tmp_path / "bin" / "xdplb"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "{MAIN}" "$@"\n')
    command.chmod(0o755)
    return command.parent


MAIN = "import sys; sys.argv[0] = 'xdplb'; from xdplb.cli.main import main; main()"


@contextmanager
def at_prompt(shell: str, path: Path, name: str) -> Iterator[Terminal]:
    """Start a shell that completes, and wait for its prompt."""
    with Terminal() as terminal:
        variables = {
            "PATH": f"{path}:{os.environ['PATH']}",
            "XDPLB_NAME": name,
            "HOME": str(path),
            "ZDOTDIR": str(path),
        }
        with terminal.spawn([shutil.which(shell) or shell, *SHELLS[shell]], variables):
            terminal.type(f"cd {path}; {PREPARE[shell]}; echo at-$((6 * 7))\n")
            terminal.read(lambda text: "at-42" in text)
            yield terminal


def complete(terminal: Terminal, typed: str, word: str) -> None:
    """Begin a word, and see the line completed."""
    terminal.type(f"{typed}\t")
    whole = f"{typed.rpartition(' ')[0]} {word} "
    terminal.read(lambda text: whole in re.sub(r"\x1b\[[\d;?]*\w|.\x08|\\\\", "", text))
    terminal.type("\x15")  # the line goes


def test_bash_completes_commands_options_and_live_names(path: Path, named: str) -> None:
    with at_prompt("bash", path, named) as terminal:
        complete(terminal, "xdplb backend undr", "undrain")
        complete(terminal, "xdplb backend undrain ", "b2")  # the only one that is draining
        complete(terminal, "xdplb status --js", "--json")
        complete(terminal, "xdplb backend drain fd00:1", "fd00:13::2")  # colons are ends of words to bash


@need["zsh"]
def test_zsh_completes_them_too(path: Path, named: str) -> None:
    with at_prompt("zsh", path, named) as terminal:
        complete(terminal, "xdplb backe", "backend")
        complete(terminal, "xdplb backend undrain ", "b2")


@need["fish"]
def test_fish_asks_and_is_told(path: Path, named: str) -> None:
    lines = ["xdplb backe", "xdplb backend drain fd00:1"]
    script = "; ".join([PREPARE["fish"], *(f"complete -C '{line}'" for line in lines)])
    variables = {"PATH": f"{path}:{os.environ['PATH']}", "XDPLB_NAME": named, "HOME": str(path)}
    argv = ["fish", "--no-config", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **variables}, timeout=20)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["backend", "fd00:13::2"]


def test_files_are_left_to_the_shell(path: Path, named: str) -> None:
    (path / "edge.toml").touch()
    with at_prompt("bash", path, named) as terminal:
        terminal.type("xdplb check-config ed\t")
        terminal.read(lambda text: "edge.toml " in text)


def test_without_a_daemon_the_line_stays_as_it_is(path: Path) -> None:
    with at_prompt("bash", path, "nobody") as terminal:
        terminal.type("xdplb backend drain b\t")
        terminal.type("\x01\x0becho le''ft: \x19\n")  # to the start, cut, and paste it behind `echo`
        assert "left: xdplb backend drain b\r\n" in terminal.read(lambda text: "left: xdplb" in text)


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(name, marks=mark) for name, mark in need.items())])
def test_the_script_is_one_of_its_shell(shell: str) -> None:
    script = xdplb("completion", shell).stdout
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_refused() -> None:
    done = xdplb("completion", "csh")
    assert done.returncode == 2
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
