"""The testbed: it stands at once, its hosts reach each other, and whatever happens it leaves nothing behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool

from tools.lab import netns, process, record, web
from tools.lab.client import parse_url
from tools.lab.load import Load
from tools.lab.net import VIP4, VIP6, Lab, address, sweep
from tools.lab.process import Process
from xdplb.errors import RefusedError

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
NAP = ["sleep", "60"]


def left_of(prefix: str) -> list[str]:
    """The names of namespaces and records of a lab, or of all whose prefixes begin so."""
    return sorted(path.name for folder in (netns.FOLDER, record.FOLDER) for path in folder.glob(f"{prefix}*"))


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def fetch(lab: Lab, host: str, target: str, path: str = "/") -> bytes:
    """The body of an answer, asked by `host` on a connection of its own."""
    with lab.inside(host):
        connection = socket.create_connection((target, 80), timeout=PATIENCE_S)
    with connection, connection.makefile("rb") as answer:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
        return answer.read().partition(b"\r\n\r\n")[2]


def run_load(lab: Lab, *arguments: str) -> list[dict[str, Any]]:
    """Run the load to its end; the lines of its report."""
    done = lab.run("client", [sys.executable, "-m", "tools.lab.load", *arguments], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def fork(work: Callable[[], object]) -> int:
    """Do the work in a child, whose exit status is 1 if it raises; nothing of ours is cleaned up at its end."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def wait_for(pid: int) -> int:
    """The exit status of a forked child, which is killed when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(ended[1])


def lab_of_a_killed_process(prefix: str) -> Process:
    """Leave a lab whose owner was killed with no chance to clean up; returns what runs in it."""
    heard, said = os.pipe()

    def work() -> None:
        lab = Lab(prefix, backends=1)
        lab.up()
        os.write(said, str(lab.spawn("client", NAP).pid).encode())
        signal.pause()

    owner = fork(work)
    napping = Process.of(int(os.read(heard, 20)))
    os.kill(owner, signal.SIGKILL)
    wait_for(owner)
    os.close(heard)
    os.close(said)
    return napping


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix of this test alone, of which nothing is left at its end."""
    name = f"t{os.getpid()}-{time.monotonic_ns() % 10**9}"
    yield name
    assert left_of(name) == []


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with web servers, for the tests that only use one."""
    with Lab(f"t{os.getpid()}", backends=2) as lab:
        web.start(lab, lab.backends)
        yield lab


# --- up and down ------------------------------------------------------------------------------------------------


def test_up_takes_less_than_half_a_second(prefix: str) -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        with Lab(prefix, backends=3):
            took.append(time.monotonic() - began)

    assert min(took) < 0.5


def test_down_leaves_no_namespace_process_or_file(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "pins").mkdir()
    with Lab(prefix, backends=1) as lab:
        lab.remove_at_down(tmp_path / "pins")
        lab.remove_at_down(tmp_path / "never made")
        shell = lab.spawn("b1", ["sh", "-c", "sleep 60 & echo $!; sleep 60"], stdout=subprocess.PIPE)
        assert shell.stdout
        started = [Process.of(shell.pid), Process.of(int(shell.stdout.readline()))]
        assert all(one.alive for one in started)
        assert len(left_of(prefix)) == 5

    assert not any(one.alive for one in started)
    assert not (tmp_path / "pins").exists()


def test_what_ignores_sigterm_is_killed(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TERM_PATIENCE_S", 0.1)
    with Lab(prefix, backends=0) as lab:
        stubborn = lab.spawn("lb", ["sh", "-c", "trap '' TERM; echo deaf; exec sleep 60"], stdout=subprocess.PIPE)
        assert stubborn.stdout
        stubborn.stdout.readline()

    assert stubborn.returncode == -signal.SIGKILL


def test_hooks_run_between_the_end_of_processes_and_of_the_network_and_all_of_them(prefix: str) -> None:
    seen: list[object] = []

    def fail() -> None:
        seen.append("fails")
        raise ValueError("a hook")

    lab = Lab(prefix, backends=0)
    lab.up()
    nap = lab.spawn("client", NAP)
    lab.on_down(lambda: seen.append((nap.poll(), len(left_of(prefix)))))
    lab.on_down(fail)
    with pytest.raises(ValueError, match="a hook"):
        lab.down()

    assert seen == ["fails", (-signal.SIGTERM, 4)]


def test_two_labs_stand_side_by_side(lab: Lab, prefix: str) -> None:
    with Lab(prefix, backends=1) as other:
        assert fetch(lab, "client", address("b1")) == b"b1\n"
        with pytest.raises(ConnectionRefusedError):
            fetch(other, "client", address("b1"))  # the same address, but no server runs there

    assert fetch(lab, "client", address("b1")) == b"b1\n"


def test_a_lab_that_exists_is_not_built_again(lab: Lab) -> None:
    with pytest.raises(RefusedError, match=f"belongs to process {os.getpid()}"):
        Lab(lab.prefix).up()

    assert fetch(lab, "client", address("b1")) == b"b1\n"


USE_A_LAB = """if 1:
    import sys
    from tools.lab.net import Lab
    print("ready", flush=True)
    with Lab(sys.argv[1], backends=2) as lab:
        lab.run("client", ["sleep", "60"], timeout=60)
"""


def test_ctrl_c_at_any_time_leaves_nothing(prefix: str) -> None:
    argv, pipe = [sys.executable, "-c", USE_A_LAB], subprocess.PIPE
    names = [f"{prefix}-{n}" for n in range(6)]
    users = [subprocess.Popen([*argv, name], cwd=ROOT, stdout=pipe, stderr=pipe) for name in names]
    for user in users:
        assert user.stdout
        user.stdout.readline()
        time.sleep(0.03)  # so that each is met at another point

    deadline = time.monotonic() + PATIENCE_S
    while running := [user for user in users if user.poll() is None]:
        assert time.monotonic() < deadline
        for user in running:
            user.send_signal(signal.SIGINT)  # again and again, as people do
        time.sleep(0.02)
    stderr = [user.communicate(timeout=PATIENCE_S)[1] for user in users]

    for user, text in zip(users, stderr, strict=True):  # one that came while the first was being told ends it at once
        assert b"KeyboardInterrupt" in text or user.returncode == -signal.SIGINT
    assert left_of(prefix) == []


def test_sweep_removes_what_a_killed_process_left(prefix: str) -> None:
    napping = lab_of_a_killed_process(prefix)
    assert napping.alive

    assert prefix in sweep()

    assert not napping.alive
    assert left_of(prefix) == []


def test_up_removes_what_a_killed_process_left(prefix: str) -> None:
    napping = lab_of_a_killed_process(prefix)

    with Lab(prefix, backends=0):
        assert not napping.alive
        assert f"{prefix}-b1" not in left_of(prefix)


def test_sweep_lets_the_living_and_the_kept_be(lab: Lab, prefix: str) -> None:
    def work() -> None:
        kept = Lab(prefix, backends=0)
        kept.up()
        kept.keep()

    assert wait_for(fork(work)) == 0

    assert not {lab.prefix, prefix} & set(sweep())
    assert len(left_of(prefix)) == 4
    record.take_down(prefix)


def test_a_stranger_is_not_ended_for_having_a_childs_pid() -> None:
    stranger = subprocess.Popen(NAP, start_new_session=True)
    try:
        process.end([Process(stranger.pid, Process.of(stranger.pid).started - 1)])
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# --- hosts and wires --------------------------------------------------------------------------------------------


def test_the_wires_are_as_xdp_needs_them(lab: Lab) -> None:
    with lab.inside("router"), IPRoute() as ipr:
        links = {link.get_attr("IFLA_IFNAME"): link for link in ipr.get_links()}
        checksums_left_open = {
            name for name in links if name != "lo" and IoctlEthtool(name).get_features()["tx-checksum-ip-generic"]
        }

    mtus = {name: links[name].get_attr("IFLA_MTU") for name in ("client", "lb", "b1")}
    assert mtus == {"client": 1500, "lb": 1600, "b1": 1600}
    assert checksums_left_open == {"client"}
    assert links["lb"].get_attr("IFLA_XDP").get_attr("IFLA_XDP_ATTACHED") == "xdp"


def test_a_backend_added_later_is_like_the_others(prefix: str) -> None:
    with Lab(prefix, backends=1) as lab:
        assert lab.add_backend() == "b2"
        web.start(lab, ["b2"])

        for version in (4, 6):
            assert fetch(lab, "client", address("b2", version)) == b"b2\n"
        for vip in (VIP4, VIP6):
            assert fetch(lab, "b2", vip) == b"b2\n"


@pytest.mark.parametrize(("vip", "family"), [(VIP4, socket.AF_INET), (VIP6, socket.AF_INET6)])
def test_two_balancers_share_flows_until_one_vanishes(prefix: str, vip: str, family: int) -> None:
    """The router picks by five-tuple: flows of one address go both ways, packets of one flow the same way."""
    frame = 1000 + 14 + (20 if family == socket.AF_INET else 40) + 8
    with Lab(prefix, backends=0) as lab:
        twin = lab.add_twin()
        assert Lab.find(prefix).hosts == lab.hosts == ["router", "client", "lb", twin]
        lab.route_vips("lb", twin)
        with contextlib.ExitStack() as stack, lab.inside("client"):
            flows = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(40)]

            def taken(count: int) -> dict[str, int]:
                """Packets by balancer, of this many from each flow."""
                before = {host: lab.counters(host).rx_bytes for host in ("lb", twin)}
                for flow in flows * count:
                    flow.sendto(bytes(1000), (vip, 9))
                sent, came = len(flows) * count, dict.fromkeys(before, 0)

                def arrived() -> bool:
                    came.update((host, (lab.counters(host).rx_bytes - before[host]) // frame) for host in came)
                    return sum(came.values()) >= sent

                wait_until(arrived)
                return came

            once = taken(1)
            assert min(once.values()) > 5
            assert taken(3) == {host: 3 * number for host, number in once.items()}

            lab.vanish("lb")

            assert taken(1) == {"lb": 0, twin: 40}


def test_counters_count(lab: Lab) -> None:
    before = {end: lab.counters(*end) for end in (("client", "eth0"), ("router", "client"), ("b1", "eth0"))}
    with lab.inside("client"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            sender.sendto(bytes(1000), (address("b1"), 9))

    wait_until(lambda: lab.counters("b1").rx_packets >= before["b1", "eth0"].rx_packets + 100)
    assert lab.counters("client").tx_bytes >= before["client", "eth0"].tx_bytes + 100_000
    assert lab.counters("router", "client").rx_packets >= before["router", "client"].rx_packets + 100


def test_a_command_that_hangs_is_ended_with_all_it_started(lab: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        lab.run("client", ["sh", "-c", "sleep 60 & echo $!; wait"], timeout=0.3)

    with contextlib.suppress(ProcessLookupError):
        assert not Process.of(int(caught.value.output)).alive  # a zombie, until its new parent looks


# --- server and load --------------------------------------------------------------------------------------------


def test_load_and_servers_count_the_same(prefix: str) -> None:
    urls = [f"--url=http://{address('b1')}/", f"--url=http://[{address('b2', 6)}]/"]
    with Lab(prefix, backends=2) as lab:
        servers = web.start(lab, lab.backends)
        *seconds, total = run_load(lab, *urls, *(f"--source={one}" for one in lab.client_addresses), "--seconds=1.1")
        served = {}
        for name, server in servers.items():
            server.terminate()
            served[name] = json.loads(server.communicate(timeout=PATIENCE_S)[0])

    assert total["failures"] == {}
    assert total["requests"] == sum(second["requests"] for second in seconds) > 50
    assert total["backends"] == total["connections"]
    for name, counts in served.items():
        assert 0 <= counts["requests"] - total["backends"][name] <= 8  # one each may have been under way at the end


def test_load_keeps_a_connection_and_the_rate(lab: Lab) -> None:
    *_, total = run_load(lab, f"--url=http://{address('b1')}/", "--keep=10", "--rate=500", "--seconds=0.6")

    assert total["failures"] == {}
    assert 30 <= total["requests"] <= 310
    assert total["connections"]["b1"] <= total["requests"] / 10 + 8


def test_server_sends_as_many_bytes_as_asked_and_drops_a_body(lab: Lab) -> None:
    assert fetch(lab, "client", address("b1"), "/bytes/3000000") == bytes(3_000_000)

    with lab.inside("client"):
        connection = socket.create_connection((address("b1"), 80), timeout=PATIENCE_S)
    with connection:
        for part in (b"PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nGE", b"T /GET /bytes/2 HTTP/1.1\r\n\r\n"):
            connection.sendall(part)
        wait_until(lambda: connection.recv(10_000, socket.MSG_PEEK).endswith(b"\r\n\r\n\0\0"))
        assert connection.recv(10_000).count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ("absent", "refused"),
        ("silent", "timeout"),
        ("hangs up", "closed"),
        ("resets", "reset"),
        ("babbles", "bad answer"),
    ],
)
def test_load_tells_how_a_request_failed(behaviour: str, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        load, report, began = Load([parse_url(url)], rate=0.1, timeout_s=0.2), io.StringIO(), time.time()
        if behaviour == "absent":
            listener.close()
        thread = threading.Thread(target=load.run, args=(report, PATIENCE_S))
        thread.start()
        if behaviour != "absent":
            misbehave(listener, behaviour)
        wait_until(lambda: load.second.failures)
        load.stop()
        thread.join()

    second, total = (json.loads(line) for line in report.getvalue().splitlines())
    (failure,) = second["failures"]
    assert (failure["kind"], failure["url"], total["failures"]) == (kind, url, {kind: 1})
    assert began <= failure["at"] <= time.time()


def misbehave(listener: socket.socket, behaviour: str) -> None:
    """Take a request and answer it wrongly."""
    listener.settimeout(PATIENCE_S)
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE_S)
    connection.recv(1000)
    if behaviour == "silent":
        connection.recv(1000)  # until the client gives up
    elif behaviour == "resets":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    elif behaviour == "babbles":
        connection.sendall(b"what?\r\n\r\n")
    connection.close()


# --- the command ------------------------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.lab", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
    )


def test_command_builds_runs_and_removes(prefix: str) -> None:
    up = command("up", "--backends=1", "--prefix", prefix)
    again = command("up", "--prefix", prefix)
    asked = command("run", "--prefix", prefix, "client", sys.executable, "-c", ASK, address("b1"))
    down = command("down", "--prefix", prefix)

    assert (up.returncode, up.stderr) == (0, "")
    assert "are up" in up.stdout
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "exists" in again.stderr
    assert (asked.returncode, asked.stdout) == (7, "b1\n")
    assert (down.returncode, left_of(prefix)) == (0, [])


ASK = """if 1:
    import sys, urllib.request
    print(urllib.request.urlopen(f"http://{sys.argv[1]}/").read().decode(), end="")
    sys.exit(7)
"""


def test_without_root_it_says_so() -> None:
    def work() -> None:
        os.setuid(65534)
        with pytest.raises(RefusedError, match="needs root"):
            Lab("nobody").up()

    assert wait_for(fork(work)) == 0
