"""What is written is what other programs read: scapy here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scapy.utils import RawPcapNgReader

from xdplb.pcapng import Pcapng

AT = 1_795_567_704_290_089_331


def test_packets_come_back_with_length_time_interface_and_comment(tmp_path: Path) -> None:
    capture, path = Pcapng(), tmp_path / "out.pcapng"
    path.write_bytes(
        capture.begin()
        + capture.packet("eth0", AT, b"a" * 61, 1500, "dropped_blocked")
        + capture.packet("eth1", AT + 1, b"b" * 64, 64, "sent: web/b2 → two", outbound=True)
        + capture.packet("eth0", AT + 2, b"c" * 14, 14, "")
    )

    with RawPcapNgReader(str(path)) as reader:
        found: list[tuple[bytes, Any]] = list(reader)

    assert [frame for frame, _ in found] == [b"a" * 61, b"b" * 64, b"c" * 14]
    assert [facts.wirelen for _, facts in found] == [1500, 64, 14]
    assert [(facts.tshigh << 32) + facts.tslow for _, facts in found] == [AT, AT + 1, AT + 2]
    assert {facts.tsresol for _, facts in found} == {10**9}
    assert [facts.ifname for _, facts in found] == [b"eth0", b"eth1", b"eth0"]
    assert [facts.direction for _, facts in found] == [1, 2, 1]
    assert [_comment(facts) for _, facts in found] == ["dropped_blocked", "sent: web/b2 → two", ""]


def _comment(facts: object) -> str:
    comments = getattr(facts, "comments", None) or [getattr(facts, "comment", None)]
    return b"".join(comment or b"" for comment in comments).decode()
