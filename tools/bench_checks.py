"""Time ten thousand checks, as the daemon runs them: `python -m tools.bench_checks [--backends N] [--interval S]`.

Needs root: the backends are one host with ten thousand addresses in a network namespace of its own, at the other end of
a wire, and its work is kept on another CPU, as that of real backends is. Printed are the CPU that the checks take (of
one core), memory, and by how much probes begin late; and beside that, since virtual machines are seldom alone, what a
bare loop of connections took before and after.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import struct
import subprocess
import time
from ipaddress import ip_address
from statistics import quantiles

import click

from tools.lab import netns
from xdplb.health.kinds import Http, Kind
from xdplb.health.subjects import wants
from xdplb.health.watch import Watch
from xdplb.model import Backend, Check, Service, Vip

PORT = 8080
CLIENT, SERVER = "bench-checks", "bench-checked"
WARM_UP_S = 3.0


def _lay_wire() -> None:
    """Two namespaces and a wire; the second one has every address of 10.64.0.0/16."""
    for name in (CLIENT, SERVER):
        netns.create(name)
    commands = f"""
        ip -n {CLIENT} link add eth0 type veth peer name eth0 netns {SERVER}
        ip -n {CLIENT} addr add 10.63.0.1/16 dev eth0
        ip -n {SERVER} addr add 10.63.0.2/16 dev eth0
        ip -n {SERVER} link set lo up
        ip -n {SERVER} link set eth0 up
        ip -n {CLIENT} link set eth0 up
        ip -n {CLIENT} route add 10.64.0.0/16 via 10.63.0.2
        ip -n {SERVER} route add local 10.64.0.0/16 dev lo"""
    for line in commands.strip().splitlines():
        subprocess.run(line.split(), check=True)
    for name, mask in ((CLIENT, "1"), (SERVER, "2")):  # what each receives is dealt with on its own CPU
        script = f"mount -t sysfs sysfs /sys && echo {mask} > /sys/class/net/eth0/queues/rx-0/rps_cpus"
        with netns.inside(name):
            subprocess.run(["unshare", "-m", "sh", "-c", script], check=True)


def _tidy() -> None:
    for name in (CLIENT, SERVER):
        subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def _serve(http: bool) -> None:
    """Accept and close, on the last CPU, until killed."""
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    netns.enter(SERVER)
    with socket.create_server(("", PORT), backlog=4096) as server:
        if not http:  # nobody is woken by a connection without data, and its reset ends it
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 3)
        while True:
            try:
                accepted, _ = server.accept()
                with accepted:
                    if http:
                        accepted.recv(4096)
                        accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                continue


def _services(backends: int, interval_s: float, kind: Kind) -> Service:
    ask = Http() if kind is Kind.HTTP else None
    check = Check(PORT, interval_s=interval_s, timeout_s=1.0, kind=kind, ask=ask)
    addresses = [ip_address(f"10.64.{number // 250}.{1 + number % 250}") for number in range(backends)]
    return Service("web", (Vip(ip_address("192.0.2.1"), 80),), tuple(Backend(str(a), a) for a in addresses), (check,))


def _bare(service: Service, number: int = 4000) -> float:
    """Return the CPU of a connection and its reset, us: socket, connect, close, and nothing around them."""
    linger = struct.pack("ii", 1, 0)
    places = [(str(backend.address), PORT) for backend in service.backends[:250]]
    before = resource.getrusage(resource.RUSAGE_SELF)
    for at in range(number):
        with socket.socket() as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            opened.connect(places[at % len(places)])
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / number * 1e6


async def _measure(service: Service, seconds: float) -> None:
    reports = 0

    def changed() -> None:
        nonlocal reports
        reports += 1

    bare = [_bare(service)]
    watch = Watch(changed)
    watch.follow(wants((service, backend) for backend in service.backends))
    await watch.wait_first(30)
    await asyncio.sleep(WARM_UP_S)
    watch.count_late = True
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    await asyncio.sleep(seconds)
    after, took_s = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    late, up = sorted(watch.late_s), sum(health.up is True for health in watch.health.values())
    await watch.close()
    bare.append(_bare(service))
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    cuts = quantiles(late, n=1000)
    print(f"probes/s        {len(late) / took_s:10,.0f}   up {up:,} of {len(service.backends):,}, {reports:,} reports")
    print(f"CPU             {(user + system) / took_s:10.1%}   of one core; {user / took_s:.1%} here, rest the kernel")
    print(f"CPU per probe   {(user + system) / len(late) * 1e6:10.1f} us")
    print(f"bare connection {bare[0]:10.1f} us before, {bare[1]:.1f} us after")
    print(f"memory          {after.ru_maxrss / 1024:10.1f} MiB")
    tail = "  ".join(f"p{n / 10:g} {cuts[n - 1] * 1e3:.1f}" for n in (500, 990, 999))
    print(f"late, ms        {tail}  most {late[-1] * 1e3:.1f}")


@click.command()
@click.option("--backends", default=10_000, show_default=True)
@click.option("--interval", "interval_s", default=1.0, show_default=True, help="Of each check, seconds.")
@click.option("--seconds", default=10.0, show_default=True, help="How long is measured.")
@click.option("--kind", default="tcp", show_default=True, type=click.Choice(["tcp", "http"]))
def main(backends: int, interval_s: float, seconds: float, kind: str) -> None:
    """Time many checks at once."""
    _tidy()
    _lay_wire()
    child = os.fork()
    if child == 0:
        _serve(kind == "http")
    try:
        with netns.inside(CLIENT):
            os.sched_setaffinity(0, {0})
            asyncio.run(_measure(_services(backends, interval_s, Kind(kind)), seconds))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        _tidy()


if __name__ == "__main__":
    main()
