"""What a spec compiles to."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from tests.rig.xdp import SPEC
from xdplb.contract import BPF_DIR
from xdplb.dataplane.plane import SWITCHES, spec_from


def test_defines_hold_switches_sizes_seed_and_key() -> None:
    defines = replace(SPEC, ipip6=False).defines()

    assert {name: defines[name] for name in ("USE_VIP4", "USE_VIP6", "USE_IPIP4", "USE_IPIP6")} == {
        "USE_VIP4": 1,
        "USE_VIP6": 1,
        "USE_IPIP4": 1,
        "USE_IPIP6": 0,
    }
    assert (defines["ROWS_BITS"], defines["SLOTS"], defines["BACKENDS"]) == (8, 8192, 256)
    assert (defines["SERVICES_SEED"], defines["HASH_KEY"]) == (SPEC.seed, SPEC.hash_key)


def test_only_sizes_and_seed_shape_the_tables() -> None:
    assert replace(SPEC, vip6=False, hash_key=1).sizes() == SPEC.sizes()
    assert replace(SPEC, seed=1).sizes() != SPEC.sizes()
    assert SPEC.features() == ["vip4", "vip6", "ipip4", "ipip6"]


def test_union_keeps_the_tables_and_can_do_what_both_can() -> None:
    a, b = replace(SPEC, vip6=False, seed=1), replace(SPEC, vip4=False, vlan=True, seed=2, hash_key=7)

    both = a.union(b)

    assert (both.vip4, both.vip6, both.vlan) == (True, True, True)
    assert (both.seed, both.hash_key, both.capacity) == (1, 7, a.capacity)


def test_a_spec_of_another_version_is_not_taken() -> None:
    raw = asdict(SPEC)
    assert spec_from(raw) == SPEC
    with pytest.raises(KeyError):
        spec_from({**raw, "outer4": True})


def test_every_constant_is_used_by_the_program() -> None:
    text = "".join(path.read_text() for path in BPF_DIR.glob("*.[ch]"))
    assert not [name for name in SPEC.defines() if name.removeprefix("USE_") not in text]


def test_the_programs_head_names_every_switch() -> None:
    head = (BPF_DIR / "balancer.c").read_text().split("#include")[0]
    assert [name for name in SWITCHES if f"USE_{name.upper()}" not in head] == []
