"""Is there a daemon, does it answer, and does it run what the file says? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote

from xdplb.doctor.facts import Box, Running
from xdplb.doctor.finding import Finding, few

SPARE_FILES = 64  # for what is no probe


def judge(box: Box) -> Iterator[Finding]:
    """Yield what is wrong with the configuration file and the daemon."""
    command = f"xdplb run {quote(box.path)}"
    if box.problem:
        yield Finding("config-invalid", box.problem, (f"xdplb check-config {quote(box.path)}",))
    if box.running is None:
        if box.starting:
            yield Finding("daemon-starting", f"the daemon of {box.name!r} does not answer yet", ("xdplb status",))
        elif box.attached:
            yield Finding(
                "daemon-dead", f"a program of {box.name!r} is attached, and its daemon is not there", (command,)
            )
        else:
            yield Finding("daemon-absent", f"no daemon of {box.name!r} is there, and no program of it", (command,))
    elif not box.running.answers:
        seen = f"somebody listens on {box.running.socket} and does not answer"
        yield Finding("daemon-hangs", seen, (f"ss -xlp src {box.running.socket}", "systemctl restart xdplb"))
    else:
        yield from _daemon(box, box.running)
    if box.leftovers:
        seen = f"pins of {few(box.leftovers)} are in bpffs, and nobody uses them"
        yield Finding("leftover", seen, tuple(map(detach_of, box.leftovers[:5])))


def detach_of(place: str) -> str:
    """Return the command that takes a balancer's or an agent's program and pins away."""
    if place.startswith("decap-"):
        return f"xdplb decap detach --name {place.removeprefix('decap-')}"
    return f"xdplb --name {place} detach"


def _daemon(box: Box, running: Running) -> Iterator[Finding]:
    status = running.status
    if error := status["reconcile"]["error"]:
        yield Finding("reconcile-failed", f"the last reconcile failed: {error}", ("xdplb status",))
    if running.differences:
        seen = f"{box.path} is not what runs: {few(running.differences, 5)}"
        yield Finding("config-differs", seen, (f"xdplb plan {quote(box.path)}", "xdplb reload"))
    probes = sum(len(b["checks"]) for s in status["services"] for b in s["backends"]) + SPARE_FILES
    if running.open_files is not None and running.open_files < probes:
        seen = f"the daemon may open {running.open_files:,} files, its checks may need {probes:,}"
        fix = f"systemctl edit xdplb    # [Service] LimitNOFILE={max(65536, 2 * probes)}"
        yield Finding("open-files", seen, (fix,))


def warnings(box: Box, found: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the daemon's own warnings, but for those that another finding has: by its command, or by its interface."""
    findings = list(found)
    known = {fix for finding in findings for fix in finding.fixes}
    down = [finding.seen.split()[0] for finding in findings if finding.check == "interface-down"]
    for text in box.running.status["warnings"] if box.running and box.running.answers else ():
        if not any(fix in text for fix in known) and text.split()[0] not in down:
            yield Finding("daemon-warns", text, ("xdplb status",))
