"""The program in the kernel does what the oracle says: on inputs that once differed, and on many others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rig.oracle import Oracle
from tests.rig.packets import CLIENT4, CLIENT6, VIP4, VIP6, tcp
from tests.rig.reading import EXTENSIONS
from tools.fuzz import cases, mutants
from tools.fuzz.configs import Case, case_of, spec_of
from tools.fuzz.frames import SOURCES, Frames, Target
from tools.fuzz.minimise import minimise
from tools.fuzz.run import Run
from tools.fuzz.work import fuzz
from xdplb import hashing
from xdplb.dataplane.plane import Spec
from xdplb.model import Vip

KEPT = sorted(cases.FOLDER.glob("*.json"))
SPEC = spec_of(1, 0)


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[Spec, Run]]:
    """Compiled programs, each made once."""
    made: dict[Spec, Run] = {}
    yield made
    for run in made.values():
        run.close()


def run_of(runs: dict[Spec, Run], spec: Spec) -> Run:
    if spec not in runs:
        runs[spec] = Run(spec, f"test-fuzz-{os.getpid()}-{len(runs)}")
    return runs[spec]


@pytest.mark.root
@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_once_differed_does_no_more(runs: dict[Spec, Run], path: Path) -> None:
    kept = cases.read(path)

    assert run_of(runs, kept.case.spec).replay(kept.case, kept.steps) is None


@pytest.mark.root
def test_program_and_oracle_agree_on_many_packets() -> None:
    report = fuzz(seed=7, packets=60_000, configs=30, seconds=60, jobs=2, keep=None, stop=True)

    assert [found.text for found in report.found] == []
    assert report.packets >= 50_000
    assert (report.specs, report.one_sided()) == (3, [])


@pytest.mark.root
def test_program_and_oracle_agree_on_generated_packets(runs: dict[Spec, Run]) -> None:
    run, case = run_of(runs, SPEC), case_of(SPEC, Random(5))
    run.begin(case)
    assert run.enter(0)

    @settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(packets(Frames(case, Random(0))))
    def compare(frame: bytes) -> None:
        assert run.check(frame) is None

    compare()
    assert run.compare_counters() is None


def packets(build: Frames) -> st.SearchStrategy[bytes]:
    """Frames that are nearly right: whom they are for, what they carry, fragments and the end chosen by Hypothesis."""
    ports = st.integers(0, 65535), st.sampled_from([80, 443, 53, 8005])
    payload = st.builds(build.transport, st.sampled_from([6, 17, 132, 47]), *ports) | st.binary(max_size=80)
    part = st.tuples(st.sampled_from([0, 0, 1, 8191]), st.booleans(), st.sampled_from([b"\0\0\0\1", b"\0\2\0\2"]))
    protocol = st.sampled_from([6, 17, 132, 1, 58, 47, *EXTENSIONS])

    def whole(
        to: Target, protocol: int, payload: bytes, part: tuple[int, bool, bytes] | None, source: int, cut: int
    ) -> bytes:
        frame = build.packet(to, SOURCES[to.version][source], protocol, payload, part)
        return frame[: max(14, len(frame) - cut)]

    to, cut = st.sampled_from(build.targets), st.just(0) | st.integers(0, 80)
    return st.builds(whole, to, protocol, payload, st.none() | part, st.integers(0, 3), cut)


@pytest.mark.root
def test_a_difference_is_found_made_small_and_kept(runs: dict[Spec, Run], tmp_path: Path) -> None:
    """Here it is the oracle that is wrong: it was told of another kind of outer header."""
    case = case_of(SPEC, Random(5))
    wrong = Case(replace(SPEC, outer_df=not SPEC.outer_df), case.states, case.devices)
    run = run_of(runs, SPEC)

    result = run.fuzz(wrong, 4000, Random(5))
    assert result is not None
    small = minimise(run, wrong, result[1])
    assert small is not None
    case, steps, difference = small
    assert len(steps) <= 2  # a later fragment needs its first one
    kept = cases.read(cases.keep(tmp_path, case, steps, difference))
    assert (kept.case, list(kept.steps)) == (case, steps)
    assert run.replay(kept.case, kept.steps) is not None


def test_a_case_survives_json() -> None:
    case = case_of(SPEC, Random(5))

    assert cases.decode(json.loads(json.dumps(cases.encode(case)))) == case


def test_every_mutant_still_has_its_place(tmp_path: Path) -> None:
    for number, mutant in enumerate(mutants.MUTANTS):
        mutants.broken(mutant, tmp_path / str(number))


@pytest.mark.parametrize(("vip", "client"), [(VIP4, CLIENT4), (VIP6, CLIENT6)])
def test_the_oracle_hashes_flows_as_hashing_does(vip: str, client: str) -> None:
    oracle = Oracle(SPEC)
    packet = oracle.reader.read(bytes(tcp(4000, vip)))

    assert not isinstance(packet, str)
    expected = hashing.hash_flow(ip_address(client), 4000, Vip(ip_address(vip), 80), SPEC.hash_key)
    assert oracle._hash(packet) == expected
