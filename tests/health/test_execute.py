"""The `exec` check: programs that end well, badly, late or never, and what they are given and leave behind."""

from __future__ import annotations

import asyncio
import os
import pwd
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.rig.datagrams import open_files
from xdplb.health import execute
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Exec, Kind
from xdplb.health.probe import Target, probe
from xdplb.model import Check

pytestmark = pytest.mark.root
TARGET = Target(ip_address("192.0.2.7"), 8080, backend="b1", service="web")
CHECK = Check(kind=Kind.EXEC, timeout_s=5)
WHERE = "exec 192.0.2.7:8080"


def run(*command: str, user: str = "nobody", timeout_s: float = 5.0) -> ProbeEnded:
    return asyncio.run(probe(replace(CHECK, ask=Exec(command, user), timeout_s=timeout_s), TARGET))


def shell(script: str, user: str = "nobody", timeout_s: float = 5.0) -> ProbeEnded:
    return run("/bin/sh", "-c", script, user=user, timeout_s=timeout_s)


def said(script: str, user: str = "nobody") -> str:
    """Return what a script prints at last, which is part of the cause."""
    ended = shell(script, user)
    assert ended.passed, ended.cause
    return ended.cause.removeprefix(f"{WHERE}: ").rpartition(" in ")[0]


def is_gone(pid: int) -> bool:
    """Whether a process is gone, and waited for: a zombie is not."""
    return not Path(f"/proc/{pid}").exists()


def is_dead(pid: int) -> bool:
    """Whether a process is gone, or a zombie that its new parent, init, has not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 5
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.005)


def test_status_0_passes_with_what_it_said_last() -> None:
    assert said("echo first; echo 'all is well'; echo") == "all is well"
    assert said("true") == "exit status 0"
    assert said("echo to stderr, too >&2") == "to stderr, too"


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo 'disk full'; exit 2", "exit status 2: disk full"),
        ("exit 1", "exit status 1"),
        ("kill -TERM $$", "killed by SIGTERM"),
        ("kill -35 $$", "killed by signal 35"),
        (r"printf 'a\033[1mb\000\n \r\n'; exit 3", "exit status 3: a[1mb"),
        (r"printf '\377\376'; exit 3", "exit status 3: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_everything_else_fails_with_status_or_signal(script: str, cause: str) -> None:
    assert shell(script) == ProbeEnded(False, f"{WHERE}: {cause}")


def test_a_long_line_is_cut_and_too_much_is_a_failure() -> None:
    ended = shell("printf %300s x | tr ' ' y; exit 1")
    assert ended.cause == f"{WHERE}: exit status 1: {'y' * 200}…"
    assert shell("yes", timeout_s=30).cause == f"{WHERE}: it prints more than 65536 bytes"


def test_arguments_come_as_they_are() -> None:
    ended = run("/bin/sh", "-c", 'echo "$1"', "sh", "a 'b' $c; *")
    assert ended.cause.startswith(f"{WHERE}: a 'b' $c; * in ")


def test_a_program_gets_a_small_clean_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDPLB_SECRET_OF_THE_TEST", "x")
    assert said("env | grep -c XDPLB") == "4"
    assert said('echo "$XDPLB_SERVICE $XDPLB_BACKEND $XDPLB_ADDRESS $XDPLB_PORT"') == "web b1 192.0.2.7 8080"
    names = said("env | cut -d= -f1 | grep -v XDPLB | sort | tr '\\n' ' '").split()
    assert set(names) - {"PWD", "OLDPWD", "SHLVL", "_"} == {"LANG", "PATH"}  # the shell's own
    assert said("pwd") == "/"
    assert said("umask") == "0022"


def test_no_open_file_of_ours_is_inherited() -> None:
    with open("/dev/zero") as kept:
        os.set_inheritable(kept.fileno(), True)
        assert said(f"readlink /proc/$$/fd/{kept.fileno()} || echo closed") == "closed"
        own = os.dup(0)
        os.dup2(kept.fileno(), 0)
        try:
            assert said("readlink /proc/$$/fd/0") == "/dev/null"
        finally:
            os.dup2(own, 0)
            os.close(own)


def test_a_program_is_another_user_in_a_session_of_its_own_and_without_powers() -> None:
    nobody = pwd.getpwnam("nobody")
    kept = said(r"grep -E '^(Uid|Gid|Groups|Cap(Inh|Prm|Eff|Amb)):' /proc/self/status | tr '\n\t' '; '")
    fields = dict(line.split(":", 1) for line in kept.split(";") if line)
    assert fields["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert fields["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert set(fields["Groups"].split()) <= {str(nobody.pw_gid)}
    assert all(int(fields[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    assert said("test $$ = $(cut -d' ' -f6 /proc/$$/stat) && echo leader") == "leader"


def test_a_program_is_root_when_that_is_wanted() -> None:
    assert said("id -u", user="root") == "0"


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_what_cannot_be_started_is_said(folder: Path) -> None:
    assert run(f"{folder}/no").cause == f"{WHERE}: {folder}/no is missing"
    file = script(folder / "plain", "#!/bin/sh\n", 0o644)
    assert run(file).cause == f"{WHERE}: user nobody may not execute {file}"
    file = script(folder / "lost", "#!/no/such/interpreter\n")
    assert run(file).cause == f"{WHERE}: the interpreter in the first line of {file} is missing"
    file = script(folder / "text", "hello\n")
    assert run(file).cause == f"{WHERE}: {file} is no program, and its first line names no interpreter"
    assert run("/bin/true", user="nobody-of-this-name").cause == f"{WHERE}: user nobody-of-this-name is not known here"


def test_a_slow_program_passes_within_the_timeout_and_is_killed_after_it(folder: Path) -> None:
    assert shell("sleep 0.1").passed
    pids = folder / "pids"
    pids.touch()
    pids.chmod(0o666)
    # The shell's child would outlive it, and holds what it prints into.
    ended = shell(f"trap '' TERM; sleep 100 & echo $$ $! > {pids}; wait; sleep 100", timeout_s=0.3)
    assert ended == ProbeEnded(False, f"{WHERE}: the end of /bin/sh did not come within 0.3 s")
    own, child = map(int, pids.read_text().split())
    assert is_gone(own), "it is waited for before the probe ends"
    wait_until(lambda: is_dead(child), "its child is killed, too")


def test_what_a_program_leaves_behind_is_killed_and_not_waited_for(folder: Path) -> None:
    pid = folder / "pid"
    pid.touch()
    pid.chmod(0o666)
    began = time.monotonic()
    assert shell(f"sleep 100 & echo $! > {pid}; echo done").cause.startswith(f"{WHERE}: done in ")
    assert time.monotonic() - began < 4
    wait_until(lambda: is_dead(int(pid.read_text())), "it is killed")


def test_a_cancelled_probe_leaves_no_process_and_no_open_file(folder: Path) -> None:
    pid = folder / "pid"
    pid.touch()
    pid.chmod(0o666)
    command = ("/bin/sh", "-c", f"echo $$ > {pid}; exec sleep 100")

    async def cancelled() -> None:
        before = open_files()
        asked = asyncio.create_task(probe(replace(CHECK, ask=Exec(command), timeout_s=60), TARGET))
        while not pid.read_text():
            await asyncio.sleep(0.001)
        assert open_files() != before
        asked.cancel()
        assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], asyncio.CancelledError)
        assert is_gone(int(pid.read_text()))
        assert open_files() == before

    asyncio.run(asyncio.wait_for(cancelled(), 10))


def test_no_file_stays_open_whatever_the_end() -> None:
    async def many() -> None:
        commands = [("/bin/true",), ("/bin/false",), ("/no",), ("/bin/sh", "-c", "yes"), ("/bin/sleep", "100")]
        checks = [replace(CHECK, ask=Exec(command), timeout_s=0.5) for command in commands]
        await probe(checks[0], TARGET)
        before = open_files()
        results = await asyncio.gather(*(probe(check, TARGET) for check in checks))
        assert [ended.passed for ended in results] == [True, False, False, False, False]
        assert open_files() == before

    asyncio.run(many())


def test_while_one_has_not_ended_no_other_is_started() -> None:
    asked = Exec(("/bin/true",), "nobody")
    execute.not_over.add((asked, TARGET))  # as one that hangs in the kernel
    try:
        assert run("/bin/true").cause == f"{WHERE}: the last /bin/true has not ended yet, though it was killed"
    finally:
        execute.not_over.clear()
    assert run("/bin/true").passed
    assert not shell("sleep 100", timeout_s=0.1).passed
    assert not execute.not_over


def test_only_root_can_run_programs() -> None:
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        ended = run("/bin/true")
    finally:
        os.seteuid(0)
    assert ended == ProbeEnded(False, f"{WHERE}: exec checks need a daemon that is root")
