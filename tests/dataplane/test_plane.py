"""What a spec compiles to."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.xdp import SPEC


def test_defines_hold_switches_sizes_seed_and_key() -> None:
    defines = replace(SPEC, outer6=False).defines()

    assert {name: defines[name] for name in ("USE_VIP4", "USE_VIP6", "USE_OUTER4", "USE_OUTER6")} == {
        "USE_VIP4": 1,
        "USE_VIP6": 1,
        "USE_OUTER4": 1,
        "USE_OUTER6": 0,
    }
    assert (defines["ROWS_BITS"], defines["SLOTS"], defines["BACKENDS"]) == (8, 8192, 256)
    assert (defines["SERVICES_SEED"], defines["HASH_KEY"]) == (SPEC.seed, SPEC.hash_key)


def test_only_sizes_and_seed_shape_the_tables() -> None:
    assert replace(SPEC, vip6=False, hash_key=1).sizes() == SPEC.sizes()
    assert replace(SPEC, seed=1).sizes() != SPEC.sizes()
    assert SPEC.features() == ["vip4", "vip6", "outer4", "outer6"]
