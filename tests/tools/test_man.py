"""Manual pages: one for every command, which `man` renders without a word of complaint."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_reference import commands
from tools.man import escape, main
from xdplb.cli.main import cli


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    main(folder)
    return folder


def rendered(page: Path) -> str:
    environment = {**os.environ, "MANWIDTH": "100", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    argv = ["man", "-E", "UTF-8", "-l", str(page)]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, check=True).stdout


needs_man = pytest.mark.skipif(not shutil.which("man"), reason="there is no man")


def test_every_command_and_the_configuration_have_one(pages: Path) -> None:
    wanted = {f"{name.replace(' ', '-')}.1" for name in commands(cli, "xdplb")}
    there = {page.name for page in pages.iterdir()}
    assert wanted <= there
    assert there - wanted >= {"xdplb.1", "xdplb-backend.1", "xdplb.toml.5"}


@needs_man
def test_they_render_without_warnings(pages: Path) -> None:
    argv = ["man", "--warnings=w", "-E", "UTF-8", "-l", *map(str, sorted(pages.iterdir()))]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stderr) == (0, "")


@needs_man
def test_a_commands_page_says_what_its_help_says(pages: Path) -> None:
    text = rendered(pages / "xdplb-backend-drain.1")
    assert "xdplb-backend-drain - Send no new flows to BACKEND and let its old flows end\n" in text
    assert "       xdplb backend drain [OPTIONS] BACKEND\n" in text
    assert "       --for TIME\n              At most so long, as 30s, 10m or 2h.\n" in text
    assert "       xdplb backend drain b2 --for 1s --wait\n" in text


@needs_man
def test_the_first_page_has_the_exit_statuses_of_the_docs(pages: Path) -> None:
    text = rendered(pages / "xdplb.1")
    assert "       2      what was typed or configured is wrong, and nothing was changed\n" in text
    assert "       xdplb-status(1)\n" in text
    assert "       NO_COLOR\n" in text


@needs_man
def test_the_configurations_page_has_every_key_with_its_type_and_default(pages: Path) -> None:
    text = rendered(pages / "xdplb.toml.5")
    assert '       mode (type: text; default: "native")\n' in text
    assert '       vips = ["192.0.2.10:80", "[2001:db8::10]:80"]\n' in text


def test_what_roff_would_take_for_its_own_is_escaped() -> None:
    assert escape(".so\n'x --wait \\d") == "\\&.so\n\\&'x \\-\\-wait \\ed"
