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
    Mutant("outer checksum without its last carry", "write_outer.h", "(sum << 16) + (sum >> 16))", "(sum << 16))"),
    Mutant("19 bytes of a TCP header do", "transport.h", "TCP_HEADER_BYTES 20", "TCP_HEADER_BYTES 19"),
    Mutant("the VIP's upper half is not hashed", "transport.h", "destination.high ^ flow->ports", "ports"),
    Mutant("TTL checksum 0xffff stays", "write_outer.h", "(word + 0x10000) >> 32 << 16", "word >> 32 << 16"),
    Mutant("fragments of all protocols are alike", "parse_any.h", ".protocol = p->flow.protocol", ".protocol = 0"),
    Mutant("quoted ports are not exchanged", "parse_any.h", "ports >> 16 | (__u64)(ports & 0xffff) << 16", "ports"),
    Mutant("as long as the MTU is too long", "balancer.c", "> p->backend->mtu", ">= p->backend->mtu"),
    Mutant("a range ends one port early", "find_service.h", "port <= range >> 16", "port < range >> 16"),
    Mutant("a tag stands before its type", "encap.h", "| (__u32)to->vlan << 16", "<< 16 | to->vlan"),
    Mutant("UDP's length is without GUE's", "write_outer.h", "htons(c->bytes + GUE_BYTES)", "htons(c->bytes + 8)"),
    Mutant("AH is as long as other headers", "parse_any.h", "(header[1] + 2) * 4", "(header[1] + 1) * 8"),
    Mutant("a SYN-ACK opens a connection", "packet.h", "(TCP_SYN | TCP_ACK)) == TCP_SYN", "TCP_SYN) == TCP_SYN"),
    Mutant("a backend that is down keeps flows", "steer.h", "backend && backend->up;", "backend;"),
    Mutant("a moved slot learns", "steer.h", "if (moving && is_up(before))", "if (is_up(before))"),
    Mutant("a moved slot bears", "steer.h", "new = index ? moving : false;", "new = index;"),
    Mutant("a SYN to a moved slot forgets nothing", "steer.h", "\t\t\tforget(&m);", "\t\t\t;"),
    Mutant("a FIN closes nothing", "flows.h", "TCP_FIN | TCP_RST", "TCP_RST"),
    Mutant("a second chance is for SYNs, too", "steer.h", "IPPROTO_TCP || opens(p))", "IPPROTO_TCP)"),
    Mutant("a RST is progress, too", "progress.h", "(TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK", "TCP_ACK)"),
    Mutant("progress is anybody's", "progress.h", "(word & ATTEMPT_BACKEND) == backend ?", "true ?"),
    Mutant("a name never makes room", "progress.h", "word && !age", "word"),
    Mutant("an ACK leaves the name there", "progress.h", "\t\t*attempt = 0;", ""),
    Mutant("the middle header has the inner's length", "encap.h", "p->inner_bytes += bytes;", ""),
    Mutant("a limit lets one more through", "guard.h", "owed + (__s64)cost > most", "owed > most"),
    Mutant("echo replies keep their TTL", "answer.h", "ip->ttl = ANSWER_TTL;", ""),
    Mutant("an error quotes four bytes more", "answer.h", "ctx, p, MOST4 - bytes)", "ctx, p, MOST4 - bytes + 4)"),
    Mutant("what has no egress counts", "balancer.c", "if (how == ENDED)\n\t\tcount(p, -1);", ""),
    Mutant("an IPv4 source of 224/8 may be told", "answer.h", "first4 < 224", "first4 <= 224"),
    Mutant("an own tag takes 8 bytes", "encap.h", "*(__u32 *)(frame + 12) = bpf", "*(__u64 *)(frame + 12) = bpf"),
    Mutant("sources like ::x:0 may not be told", "answer.h", "low & ~(1ULL << 56)", "low > 1ULL << 56"),
    Mutant("protocol 0 finds empty rows", "transport.h", "IPPROTO_ICMP && protocol;", "IPPROTO_ICMP;"),
    Mutant("options are not skipped", "parse_any.h", "(network + header_bytes", "(network + 20"),
]


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
        arguments += ["--packets", "2000000", "--configs", "800"]  # few packets of each: other specs come sooner
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
