"""The instructions of a program beside its pin: kept as they were loaded, but for whose maps they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.xdp import Xdp
from xdplb.dataplane import loader
from xdplb.dataplane.instructions import Function, read_code
from xdplb.dataplane.kernel import request_for
from xdplb.errors import KernelError


def test_maps_are_named_and_get_the_descriptors_of_whoever_loads() -> None:
    load, end = bytes.fromhex("1811000000000000 0000000000000000"), bytes.fromhex("9500000000000000")

    assert Function(load + end, {0: "flows"}).with_maps({"flows": 0x0102}) == (
        bytes.fromhex("1811000002010000 0000000000000000") + end
    )


def test_a_loaded_program_is_kept_with_its_other_half_and_all_its_maps(xdp: Xdp) -> None:
    code = read_code(loader.code_file(xdp.place, xdp.kernel.pinned.program))

    assert set(code.functions) == {"balancer", "unusual"}
    assert {name for function in code.functions.values() for name in function.maps.values()} == set(code.maps)
    assert {"services", "slots", "tail", "notes"} <= set(code.maps)


def test_instructions_that_were_not_kept_are_made_again_and_equal(xdp: Xdp) -> None:
    file = loader.code_file(xdp.place, xdp.kernel.pinned.program)
    kept = file.read_text()
    file.unlink()

    loader.write_code(xdp.place, request_for(xdp.kernel.spec), xdp.kernel.pinned)

    assert file.read_text() == kept


def test_a_file_that_holds_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "code").write_text('{"functions": 3}')

    with pytest.raises(KernelError, match="does not hold a program"):
        read_code(tmp_path / "code")
