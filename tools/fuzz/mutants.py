"""Ways to break the program, each of which the fuzzer must find within a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xdplb.contract import BPF_DIR

MOST_S = 60


@dataclass(frozen=True, slots=True)
class Mutant:
    """One text of a file in bpf/ that becomes another."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant("outer checksum without its second fold", "encap.h", "~(sum + (sum << 16) + (sum >> 16))", "~(sum + (sum << 16))"),
    Mutant("TCP header of 19 bytes is enough", "transport.h", "#define TCP_HEADER_BYTES 20", "#define TCP_HEADER_BYTES 19"),
    Mutant("flow hash without the IPv6 VIP's upper half", "transport.h", "flow->destination.high ^ flow->ports", "flow->ports"),
    Mutant("TTL checksum: 0xffff is not written as 0", "encap.h", "(word + 0x10000) >> 32 << 16", "word >> 32 << 16"),
    Mutant("fragments of all protocols are one datagram", "parse_any.h", ".protocol = p->flow.protocol,", ".protocol = 0,"),
    Mutant("ports of a quoted packet are not exchanged", "parse_any.h", "ports >> 16 | (__u64)(ports & 0xffff) << 16", "ports"),
    Mutant("a packet as long as the MTU is too long", "balancer.c", "p->inner_bytes > p->backend->mtu", "p->inner_bytes >= p->backend->mtu"),
    Mutant("a range ends one port early", "find_service.h", "port <= range >> 16", "port < range >> 16"),
    Mutant("a tag goes out before its type", "encap.h", "bpf_htons(ETH_P_8021Q) | (__u32)to->vlan << 16", "to->vlan | (__u32)bpf_htons(ETH_P_8021Q) << 16"),
    Mutant("GUE's UDP length without GUE's header", "encap.h", "p->inner_bytes + UDP_HEADER_BYTES + GUE_HEADER_BYTES", "p->inner_bytes + UDP_HEADER_BYTES"),
    Mutant("AH is as long as other headers", "parse_any.h", "(header[1] + 2) * 4", "(header[1] + 1) * 8"),
    Mutant("a SYN-ACK opens a connection", "packet.h", "(p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN", "p->tcp_flags & TCP_SYN"),
    Mutant("a flow stays at a backend that is down", "steer.h", "backend && backend->up ? kept : index", "backend ? kept : index"),
    Mutant("a limit lets one more through", "guard.h", "owed + (__s64)cost > most", "owed > most"),
    Mutant("echo replies keep their TTL", "answer.h", "ip->ttl = ANSWER_TTL;", ""),
    Mutant("an error quotes four bytes more", "answer.h", "p->inner_bytes : MOST4 - bytes) & ~3ULL", "p->inner_bytes : MOST4 - bytes + 4) & ~3ULL"),
    Mutant("a blocked egress counts its packet", "balancer.c", "if (how == ENDED)\n\t\tcount(p, -1);", ""),
]  # fmt: skip


def broken(mutant: Mutant, folder: Path) -> None:
    """Make a copy of bpf/ that is broken in this way. Raises ValueError when the text is not there."""
    shutil.copytree(BPF_DIR, folder)
    text = (folder / mutant.file).read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.old!r} is {text.count(mutant.old)} times in {mutant.file}")
    (folder / mutant.file).write_text(text.replace(mutant.old, mutant.new))


def seconds_to_find(mutant: Mutant, seed: int = 1) -> float | None:
    """Return how long the fuzzer needs, compiling included; None when it does not find it in time."""
    with tempfile.TemporaryDirectory() as top:
        broken(mutant, Path(top) / "bpf")
        began = time.monotonic()
        arguments = ["--seed", str(seed), "--seconds", str(MOST_S), "--stop", "--keep", f"{top}/cases"]
        done = subprocess.run(
            [sys.executable, "-m", "tools.fuzz", *arguments],
            env={**os.environ, "XDPLB_BPF_DIR": f"{top}/bpf"},
            capture_output=True,
            text=True,
        )
        took = time.monotonic() - began
        if "DIFFERENCE" not in done.stdout and done.returncode:
            raise RuntimeError(f"{mutant.name}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return took if done.returncode else None


def find_all(say: Callable[[str], None]) -> int:
    """Try every mutant; return 1 when one survives."""
    survivors = 0
    for mutant in MUTANTS:
        took = seconds_to_find(mutant)
        survivors += took is None
        say(f"{'NOT FOUND' if took is None else f'{took:5.1f} s'}  {mutant.file}: {mutant.name}")
    return int(survivors > 0)
