"""What a packet would leave behind, in words."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.explaining import outcome, world
from tests.rig.packets import tcp
from xdplb.contract import CONSTANTS
from xdplb.dataplane.outcome import Changed
from xdplb.explain.expecting import expect
from xdplb.explain.places import Places
from xdplb.explain.traces import traces_of

BORN = 1 << CONSTANTS["FLOW_BORN_SHIFT"]
THERE = world()
SLOT = expect(THERE, Places(THERE.spec, THERE.tables), bytes(tcp())).slot


def line(*words: int) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in (0, *words)).ljust(64, b"\0")


def flows(before: bytes, after: bytes) -> list[str]:
    return traces_of(THERE, SLOT, outcome(None, flows=(Changed(3, before, after),)))


def test_flows_that_are_remembered_seen_again_and_forgotten() -> None:
    assert SLOT
    index = SLOT.backend
    name, born, closing = SLOT.name | index, SLOT.name | BORN | index, SLOT.name | 1 << 24 | index
    other = (SLOT.name ^ 1 << 60) | index
    who = THERE.backend(index)

    assert flows(line(), line(0, born)) == [f"its flow is remembered for {who}, as born"]
    assert flows(line(other), line(name)) == [
        f"its flow is remembered for {who}, as learned, in the place of another flow"
    ]
    assert flows(line(name), line(closing)) == [f"its flow is seen again, for {who} (learned, closing)"]
    assert flows(line(name), line()) == ["its flow is forgotten"]


def test_the_place_of_the_next_flow_is_nobodys_business() -> None:
    assert flows(bytes(64), (4).to_bytes(8, "little") + bytes(56)) == []


def test_fragments_accounts_answers_and_attempts() -> None:
    assert SLOT
    ports, attempt = (4000).to_bytes(2, "big") + (53).to_bytes(2, "big") + bytes(4), bytes([SLOT.backend]) + bytes(7)
    changes = {
        "fragments": (Changed(b"key", b"", ports),),
        "clients": (Changed(0, bytes(64), bytes(64)),),
        "limits": (Changed(0, bytes(64), bytes(64)),),
        "answers": (Changed(0, bytes(8), bytes(8)),),
        "attempts": (Changed(0, bytes(8), attempt), Changed(1, attempt, bytes(8))),
    }

    assert traces_of(THERE, None, replace(outcome(None), changes=changes)) == [
        "fragments of this packet that come later go by its ports, 4000 > 53",
        "its client's accounts are charged",
        "the service's account of new connections is charged",
        "the answers of this CPU are charged",
        f"its SYN waits for its client's ACK, at {THERE.backend(SLOT.backend)}",
        f"its client has got an answer, at {THERE.backend(SLOT.backend)}",
    ]
