"""`xdplb audit`, and how any command reaches a daemon on another machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.test_main import xdplb
from tests.rig.api import Api, free_port, opened
from tests.rig.authority import Authority
from tools.lab.stand import ROOT, XDPLB


@pytest.fixture(scope="module")
def remote(signer: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API on TCP."""
    with opened(tmp_path_factory.mktemp("remote"), signer.table(free_port())) as api:
        yield api


def options(remote: Api, signer: Authority, name: str) -> list[str]:
    """How this one reaches it."""
    assert remote.daemon.config.admin.listen
    return ["--url", f"https://127.0.0.1:{remote.daemon.config.admin.listen[1]}", *signer.client(name)]


def test_who_changed_what_from_where_is_shown_and_followed(remote: Api, signer: Authority) -> None:
    boss, watch = (options(remote, signer, f"{name}.example") for name in ("boss", "watch"))
    done = xdplb(*watch, "backend", "weight", "b1", "7")
    assert (done.returncode, "watch.example has the role read; this needs operate" in done.stderr) == (1, True)

    shown = xdplb(*boss, "audit")
    assert shown.stdout.endswith("watch.example (127.0.0.1) PUT /v1/backends/b1/weight -> 403\n"), shown
    assert json.loads(xdplb(*boss, "audit", "--json").stdout)["status"] == 403
    argv = [*XDPLB, *boss, "audit", "--follow", "--limit", "1"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert "weight" in following.stdout.readline()
        done = xdplb(*boss, "backend", "drain", "nope")
        assert (done.returncode, "backend: there is no backend 'nope' in any service" in done.stderr) == (2, True)
        assert "boss.example (127.0.0.1) PUT /v1/backends/nope/drain -> 404" in following.stdout.readline()
        following.kill()


def test_where_the_daemon_is_can_stand_in_the_environment(remote: Api, signer: Authority) -> None:
    given = options(remote, signer, "watch.example")
    names = [f"XDPLB_{option.removeprefix('--').upper()}" for option in given[::2]]
    done = xdplb("guard", "find", "192.0.2.1", env={**os.environ, **dict(zip(names, given[1::2], strict=True))})
    assert (done.returncode, "192.0.2.1" in done.stdout) == (0, True), done
