"""`xdplb reload` without a daemon; with one: tests/cli/test_apply.py."""

from __future__ import annotations

from tests.cli.test_main import xdplb


def test_without_a_daemon_nobody_reloads() -> None:
    done = xdplb("--name", "nobody", "reload")
    assert done.returncode == 1
    assert done.stderr.startswith("xdplb: no daemon answers at /run/xdplb/nobody/admin.sock")
