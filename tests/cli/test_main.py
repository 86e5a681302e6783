"""The command line as a whole: one line for an error, the right exit status, a quick start."""

from __future__ import annotations

import subprocess
import sys

import pytest


def xdplb(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does."""
    argv = [sys.executable, "-m", "xdplb", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--name", "a/b", "status"], 2, "xdplb: --name: 'a/b' is no name; use letters"),
        (["--name", "nobody", "status"], 1, "xdplb: no daemon answers at /run/xdplb/nobody/admin.sock; start it with"),
        (["--name", "nobody", "backend", "drain", "b1"], 1, "no daemon answers"),
        (["nope"], 2, "No such command 'nope'"),
        (["backend", "add", "web"], 2, "Missing argument 'ADDRESS'"),
        (["backend", "add", "web", "10.0.0.1", "--weight", "heavy"], 2, "'heavy' is not a valid integer"),
        (["backend", "weight", "b1", "heavy"], 2, "'heavy' is not a valid integer"),
        (["backend", "remove", "b1", "--now", "--wait"], 2, "--now waits for nothing: leave --wait and --for away"),
        (["plan", "/nonexistent.toml"], 1, "xdplb: /nonexistent.toml: cannot be read (No such file or directory)"),
        (["top", "--interval", "0"], 2, "Invalid value for '--interval'"),
        (["run", "/nonexistent.toml"], 2, "xdplb: /nonexistent.toml: cannot be read (No such file or directory)"),
    ],
)
def test_an_error_is_told_in_plain_words(arguments: list[str], status: int, words: str) -> None:
    done = xdplb(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_names_every_command() -> None:
    done = xdplb("--help")
    for command in ("run", "check-config", "status", "top", "backend", "detach", "decap"):
        assert f"\n  {command} " in done.stdout


def test_reading_commands_import_neither_compiler_nor_netlink_nor_screen() -> None:
    code = (
        "import sys, xdplb.cli.status, xdplb.cli.backend, xdplb.cli.main; "
        "print([m for m in ('bcc', 'pyroute2', 'rich', 'aiohttp', 'msgspec', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout


def test_a_closed_pipe_is_no_error() -> None:
    argv = f"{sys.executable} -m xdplb --help | head -1"
    done = subprocess.run(["sh", "-c", argv], capture_output=True, text=True)
    assert done.stderr == ""
