"""Names that completion offers: those that there are now, and none where nobody answers in time."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from tests.rig.admin import serving, status_of
from xdplb.cli import names
from xdplb.cli.main import cli
from xdplb.tui.fake_daemon import FakeDaemon, make_backend, make_service

NAME = f"test-named-{os.getpid()}"


def offered(*words: str, typed: str = "") -> list[str]:
    """Return what is offered after these words, when a word has been begun."""
    complete = ShellComplete(cli, {}, "xdplb", "_XDPLB_COMPLETE")
    return [item.value for item in complete.get_completions(["--name", NAME, *words], typed)]


def two_services() -> FakeDaemon:
    web = make_service("web", ["192.0.2.10:80/tcp"], [make_backend("b1", "10.0.11.2"), make_backend("b2", "10.0.12.2")])
    dns = make_service("dns", ["192.0.2.53:53/udp"], [make_backend("fd00:13::2", "fd00:13::2")])
    fake = FakeDaemon([web, dns])
    fake.set_state("web", "b2", "draining", "drained by an operator")
    return fake


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """Where a daemon of our name would have its socket."""
    folder = Path("/run/xdplb", NAME)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def named(run_folder: Path) -> Iterator[str]:
    """Something that answers there."""
    with serving(run_folder / "admin.sock", lambda: status_of(two_services())):
        yield NAME


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("words", "typed", "wanted"),
    [
        (["services"], "", ["web", "dns"]),
        (["backend", "add"], "d", ["dns"]),
        (["backend", "drain"], "", ["b1", "b2", "fd00:13::2"]),
        (["backend", "drain", "--service", "dns"], "", ["fd00:13::2"]),
        (["backend", "drain", "--service"], "w", ["web"]),
        (["backend", "undrain"], "", ["b2"]),
        (["check"], "b", ["b1", "b2"]),
        (["completion"], "", ["bash", "zsh", "fish"]),
    ],
)
def test_names_are_those_that_there_are(words: list[str], typed: str, wanted: list[str]) -> None:
    assert offered(*words, typed=typed) == wanted


@pytest.mark.usefixtures("named")
def test_balancers_and_interfaces_are_those_of_this_machine() -> None:
    assert NAME in offered("--name")
    assert "lo" in offered("decap", "run", "--interface")


@pytest.mark.usefixtures("named")
def test_reasons_come_with_how_often_they_were_given() -> None:
    context = click.Context(cli)
    context.params["name"] = NAME
    found = names.reasons(context, click.Option(["--reason"]), "dropped_no")
    assert [(item.value, item.help) for item in found] == [
        ("dropped_no_backend", "0 packets"),
        ("dropped_no_headroom", "0 packets"),
    ]


def test_without_a_daemon_there_are_none() -> None:
    assert offered("backend", "drain") == []


def test_a_daemon_that_is_busy_is_not_waited_for(run_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run_folder / "admin.sock"))
        listener.listen()
        began = time.monotonic()
        assert offered("backend", "drain") == []
    assert time.monotonic() - began < 2.0


def test_a_status_that_is_none_is_no_news(run_folder: Path) -> None:
    answers: list[Any] = ["", None]
    for answer in answers:
        with serving(run_folder / "admin.sock", lambda answer=answer: answer):  # type: ignore[misc]
            assert offered("backend", "drain") == []
