"""`python -m tools.bench [--only TEXT] [--json FILE]` (as root): net ns per packet of the balancer, beside two floors.

*floor* swaps the MAC addresses and counts; *floor2* makes room, writes a constant outer header and counts: what no
program that encapsulates can do without. The balancer is what the daemon loads for each configuration (`subjects.py`):
VIPs and 100 backends (a ring of 16,384 slots), every way to them, many services, guard, moving slots. Flows are drawn
at random from so many; in the floods, every packet is from a source of its own. The multiple is of *floor2* under the
same load in the same run, the one of IPv4 for IPv6, too: absolute numbers differ between machines, multiples less.

Method: BPF_PROG_TEST_RUN does not restore the frame between repeats, so `driver.c` runs in its place: each turn it
takes the last turn's outer header off, makes the frame another flow's and tail-calls the program. The same with a stub
that only says XDP_TX is subtracted: *net*. How much the frames grew, summed over all turns, and how the last one ended
prove that every turn did its work; otherwise there is no result. One CPU; everything interleaved, each measurement
warmed up; the time is the thread's own; the median of the undisturbed measurements counts (`measure.py`).

*insns* are a program's instructions after the verifier's rewriting, *bytes* the machine code, *verified* how many the
verifier went through. Calls are what is left of them then: lookups in arrays became plain arithmetic. The steady path
has one, `bpf_xdp_adjust_head`, which stands once for each family of the outer header; the function without a name is
the tail call to the program for unusual packets.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from tools.bench.driver import NotProven, drivers
from tools.bench.inspection import Inspection, inspect
from tools.bench.measure import Bench, Load, Results
from tools.bench.report import as_json, lines
from tools.bench.subjects import subjects
from xdplb.dataplane.loader import Place
from xdplb.errors import KernelError

EVERY = (1 << 32) - 1
LOADS = [
    *(Load("1 flow", 1), Load("1k flows", 1_000), Load("100k flows", 100_000), Load("1M flows", 1_000_000)),
    *(Load("SYN flood", EVERY, syn=True), Load("ACK flood", EVERY)),
]


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tools.bench", description="Net ns per packet, beside two floors.")
    parser.add_argument("--only", default="", metavar="TEXT", help="measure only what has this in its name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="undisturbed repetitions (default 5)")
    parser.add_argument("--turns", type=int, default=500_000, metavar="N", help="packets in each (default 500000)")
    return parser.parse_args()


def run(wanted: argparse.Namespace) -> tuple[Results, dict[str, Inspection]]:
    """Load, measure, inspect; leave nothing behind. Raises KernelError and NotProven."""
    made: list[Place] = []

    def place(name: str) -> Place:
        made.append(Place(f"bench-{os.getpid()}-{name}"))
        made[-1].make()
        return made[-1]

    try:
        with drivers(place("driver")) as driver, subjects(place, only=wanted.only) as (stubs, measured):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # CPU 0 has more of the machine's interrupts
            results = Bench(driver, stubs, measured, wanted.turns).measure(LOADS, wanted.repeat)
            return results, {subject.name: inspect(subject.fds[0]) for subject in measured}
    finally:
        for each in made:
            each.remove()


def main() -> None:
    """Measure and print."""
    wanted = read_arguments()
    if os.geteuid() != 0:
        sys.exit("the benchmark loads XDP programs: run it as root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left pinned
    try:
        results, programs = run(wanted)
    except (KernelError, NotProven) as error:
        sys.exit(f"no result: {error}")
    except (KeyboardInterrupt, InterruptedError):  # a signal may end the system call, too
        sys.exit(130)
    print(*lines(results, programs), sep="\n")
    if wanted.json:
        wanted.json.write_text(json.dumps(as_json(results, programs), indent=1) + "\n")


if __name__ == "__main__":
    main()
