"""`xdplb check-config`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_main import xdplb
from tests.rig.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
HEAD = '[balancer]\ninterface = "lo"\n'


def test_a_right_file_is_summed_up() -> None:
    done = xdplb("check-config", str(ROOT / "examples/quickstart.toml"))
    assert done.returncode == 0
    assert "1 services, 3 backends, on eth0" in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "balancer: the file is empty"),
        ("x", "syntax: is not TOML"),
        (HEAD + '[[service]]\nname = "a"\nvips = ["1.2.3.4:80"]\nfoo = 1\n', "service.a.foo: unknown key"),
    ],
)
def test_a_wrong_file_is_one_line_and_status_2(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    done = xdplb("check-config", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"xdplb: {path}: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interface_of_another_machine_is_only_a_note(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[balancer]\ninterface = "nope0"\n[[service]]\nname = "a"\nvips = ["1.2.3.4:80"]\n')
    done = xdplb("check-config", str(path))
    assert done.returncode == 0
    assert "no interface 'nope0'" in done.stderr


def test_files_of_the_admin_api_are_looked_at_and_names_that_nobody_has_are_noted(tmp_path: Path) -> None:
    path, base = tmp_path / "x.toml", HEAD + '[[service]]\nname = "a"\nvips = ["1.2.3.4:80"]\n[admin]\n'
    path.write_text(base + 'read = ["no-such-user"]\n')
    done = xdplb("check-config", str(path))
    assert (done.returncode, "note: admin.read: this machine has no user 'no-such-user'" in done.stderr) == (0, True)

    table = Authority(tmp_path).table(8443).removeprefix("[admin]")
    path.write_text(base + table)
    assert xdplb("check-config", str(path)).returncode == 0
    (tmp_path / "daemon.key").unlink()
    done = xdplb("check-config", str(path))
    wanted = f"xdplb: admin.key: '{tmp_path}/daemon.key' cannot be read: no such file or directory; name a file"
    assert (done.returncode, done.stderr.startswith(wanted)) == (2, True), done
