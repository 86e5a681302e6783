"""Adopt, compile, refuse; and that whatever the compiler says reaches the user."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig.xdp import SPEC, Xdp
from xdplb.dataplane import loader, source, syscall
from xdplb.dataplane.kernel import request_for
from xdplb.errors import KernelError


def test_equal_requests_share_a_program_and_others_do_not(xdp: Xdp) -> None:
    same, code, maps = (
        loader.obtain(xdp.place, request_for(spec))
        for spec in (SPEC, replace(SPEC, ipip6=False), replace(SPEC, seed=5))
    )

    assert same.adopted
    assert same.program == xdp.kernel.pinned.program
    assert (code.folder, code.adopted) == (same.folder, False)
    assert maps.folder != same.folder
    loader.forget_others(xdp.place, same)
    assert [p.name for p in xdp.place.pins.iterdir() if p.is_dir()] == [same.folder.name]
    assert list(same.folder.glob("program_*")) == [same.program]
    assert list(xdp.place.run.glob("code_*")) == [loader.code_file(xdp.place, same.program)]


def broken_sources(tmp_path: Path, old: str, new: str) -> Path:
    for path in source.BPF_DIR.glob("*.[ch]"):
        text = path.read_text()
        (tmp_path / path.name).write_text(text.replace(old, new) if path.name == "steer.h" else text)
    (tmp_path / "shim").symlink_to(source.BPF_DIR / "shim")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return NEXT;", "return NEXT", "steer.h:"),  # the compiler's
        (
            "if (!two)",
            "if (0)",
            "map_value_or_null prohibited",
        ),  # the verifier's
    ],
)
def test_words_of_compiler_and_verifier_reach_the_user(
    place: loader.Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    old: str,
    new: str,
    words: str,
) -> None:
    folder = broken_sources(tmp_path, old, new)
    monkeypatch.setattr(loader, "BPF_DIR", folder)
    monkeypatch.setenv("XDPLB_BPF_DIR", str(folder))

    with pytest.raises(KernelError, match=r"bpf/balancer\.c was not loaded .*report is above"):
        loader.obtain(place, request_for(SPEC))

    assert words in capfd.readouterr().err


def test_pinned_map_of_another_shape_is_refused(place: loader.Place, capfd: pytest.CaptureFixture[str]) -> None:
    request = request_for(SPEC)
    other = loader.obtain(place, request_for(replace(SPEC, capacity=replace(SPEC.capacity, slots=16384))))
    folder = place.pins / request.layout
    folder.mkdir()
    syscall.pin(syscall.get(other.folder / "slots"), folder / "slots")

    with pytest.raises(KernelError, match="was not loaded"):
        loader.obtain(place, request)

    assert "pinned map slots is MapShape" in capfd.readouterr().err


def test_missing_bcc_is_told_with_the_package_to_install(
    place: loader.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bcc.py").write_text("raise ModuleNotFoundError(\"No module named 'bcc'\")")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")

    with pytest.raises(KernelError, match="apt install python3-bpfcc"):
        loader.obtain(place, request_for(replace(SPEC, hash_key=77)))


@pytest.mark.parametrize(
    ("number", "mode", "words"),
    [
        (95, "native", 'set balancer.mode = "generic"'),
        (95, "offload", 'set balancer.mode = "native"'),
        (22, "offload", 'set balancer.mode = "native"'),
        (34, "native", "ip link set eth0 mtu 1500"),
        (16, "native", "--replace"),
        (17, "native", "ip link set eth0 xdp off"),
        (5, "native", "refused XDP in native mode"),
    ],
)
def test_a_refused_attach_says_what_to_do(number: int, mode: str, words: str) -> None:
    assert words in loader._why_not_attached(OSError(number, os.strerror(number)), "eth0", mode)
