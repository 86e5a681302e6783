"""The command line as a whole: one line for an error, the right exit status, a quick start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.test_names import NAME, run_folder  # a fixture
from tests.rig.admin import At
from tools.lab.stand import ROOT
from xdplb.cli.status import status

__all__ = ["run_folder"]


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
        (
            ["--url", "https://x", "status"],
            2,
            "xdplb: --cert: missing: with --url, both sides show certificates; give it",
        ),
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


HEAVY = {"bcc", "pyroute2", "rich", "aiohttp", "msgspec", "asyncio", "xdplb.model", "xdplb.config", "logging"}


@pytest.mark.parametrize("typed", ["--help", "status", "services", "events", "flows status", "guard find 192.0.2.1"])
def test_what_is_typed_often_imports_nothing_that_takes_long(typed: str) -> None:
    code = (
        "import sys; sys.argv[1:] = ['--name', 'nobody', *sys.argv[1].split()]; from xdplb.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, typed], capture_output=True, text=True)
    assert HEAVY & set(done.stderr.split()) == set()
    assert "xdplb.cli.main" in done.stderr.split()


def test_the_exit_statuses_are_documented() -> None:
    head = (ROOT / "docs/commands.md").read_text().split("| command | does |")[0]
    assert re.findall(r"^\| ([\d, ]+) \|", head, re.M) == ["0", "1", "2", "130", "0, 2, 1", "0, 1, 3"]


def test_ctrl_c_ends_what_is_not_through_with_130(run_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run_folder / "admin.sock"))
        listener.listen()
        argv = [sys.executable, "-m", "xdplb", "--name", NAME, "status"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True) as asking:
            connection, _ = listener.accept()  # from now on it waits for an answer that does not come
            asking.send_signal(signal.SIGINT)
            assert asking.wait(10) == 130
            connection.close()
            assert asking.stderr
            assert "Traceback" not in asking.stderr.read()


def test_who_may_not_ask_is_told_how_to(run_folder: Path) -> None:
    path = run_folder / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            done = CliRunner().invoke(status, [], obj=At(None, path=path))
        finally:
            os.seteuid(0)
    fix = "use `sudo`, or get a role in [admin]"
    assert str(done.exception) == f"no permission for {path}; {fix}"


def test_a_closed_pipe_is_no_error() -> None:
    argv = f"{sys.executable} -m xdplb --help | head -1"
    done = subprocess.run(["sh", "-c", argv], capture_output=True, text=True)
    assert done.stderr == ""
