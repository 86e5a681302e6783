"""The shadow does what the program does, and the real tables never change by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, UDP

from tests.rig.packets import BACKENDS4, VIP4, config, dns, frame, service, tcp, udp
from tests.rig.xdp import LOOPBACK, Xdp, desired
from tools.explain_check import dump
from xdplb.dataplane import loader
from xdplb.dataplane.instructions import read_code
from xdplb.dataplane.outcome import Outcome
from xdplb.dataplane.shadow import Shadow
from xdplb.errors import ConfigError, KernelError


@pytest.fixture
def shadow(xdp: Xdp) -> Iterator[Shadow]:
    """The shadow of the usual program, whose tables have slots that are moving."""
    xdp.serve(config(service(), dns()), down={"four11"})
    xdp.apply(desired(config(service(), dns())))
    found = Shadow(xdp.kernel.pinned, read_code(loader.code_file(xdp.place, xdp.kernel.pinned.program)))
    found.follow()
    yield found
    found.close()


def run(shadow: Shadow, packet: object) -> Outcome:
    return shadow.run(bytes(packet), LOOPBACK)  # type: ignore[call-overload]


def test_no_table_changes_whatever_comes(xdp: Xdp, shadow: Shadow) -> None:
    before = dump(xdp)
    packets = [tcp(port, flags=flags) for port in range(4000, 4040) for flags in ("S", "A")]
    part = frame(UDP(sport=1, dport=53) / bytes(16), VIP4, flags="MF", id=7)
    told = [run(shadow, packet) for packet in [*packets, part, frame(ICMP() / b"ping", VIP4), tcp(ttl=1), udp()]]

    assert dump(xdp) == before
    changed = {name for outcome in told for name in outcome.changes}
    assert changed == {"flows", "fragments", "answers"}


def test_each_packet_meets_the_same_state(shadow: Shadow) -> None:
    first = [run(shadow, tcp(port)) for port in range(4000, 4020)]

    assert [run(shadow, tcp(port)) for port in range(4000, 4020)] == first
    assert any("flows" in outcome.changes for outcome in first)


def test_what_the_program_then_does_is_what_was_told(xdp: Xdp, shadow: Shadow) -> None:
    sent = tcp(4001)
    told = run(shadow, sent)

    action, left = xdp.run_bytes(bytes(sent))

    assert (told.action, told.frame, told.reason) == (action.name.lower(), left, None)
    rows, traffic = xdp.kernel.tables().backends, xdp.kernel.traffic()
    assert [index for index, row in rows.items() if traffic[row.identity].packets] == [told.backend]


def test_the_copy_follows_the_real_tables(xdp: Xdp, shadow: Shadow) -> None:
    part = frame(UDP(sport=1, dport=53) / bytes(16), VIP4, flags="MF", id=7)
    later = frame(bytes(8), VIP4, proto=17, frag=3, id=7)
    assert run(shadow, later).reason == "dropped_fragment"

    xdp.run(part)

    assert run(shadow, later).reason == "dropped_fragment"
    shadow.follow()
    assert run(shadow, later).reason is None


def test_flows_that_the_program_remembers_are_followed(xdp: Xdp, shadow: Shadow) -> None:
    port = next(port for port in range(4000, 5000) if "flows" in run(shadow, tcp(port)).changes)
    told = run(shadow, tcp(port))
    xdp.run(tcp(port))

    shadow.follow()

    assert "flows" not in run(shadow, tcp(port, flags="A")).changes
    assert run(shadow, tcp(port, flags="A")).backend == told.backend


def test_frames_that_cannot_be_run_are_told(shadow: Shadow) -> None:
    for size in (13, 9000):
        with pytest.raises(ConfigError, match=f"has {size} bytes; give 14 to 3520"):
            shadow.run(bytes(size), LOOPBACK)
    with pytest.raises(ConfigError, match="there is no interface number 99999"):
        shadow.run(bytes(tcp()), 99999)


def test_another_program_than_the_pinned_one_is_refused(xdp: Xdp) -> None:
    code = read_code(loader.code_file(xdp.place, xdp.kernel.pinned.program))
    other = code.functions["unusual"]
    swapped = replace(code, functions={"balancer": other, "unusual": other})

    with pytest.raises(KernelError, match="is another program than its file says"):
        Shadow(xdp.kernel.pinned, swapped)


def test_the_backends_row_is_read_live(xdp: Xdp, shadow: Shadow) -> None:
    (_, four12, _) = BACKENDS4
    xdp.apply(desired(config(service(backends=[four12]), dns())))

    assert run(shadow, tcp()).frame[30:34] == four12.address.packed
