"""The daemon at work in the lab: real TCP through real tunnels, servers that die, a daemon that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.rig.net import QUICKSTART
from tools.lab.net import VIP4, VIP6, address
from tools.lab.stand import Stand, read_report, wait_for
from xdplb import state
from xdplb.dataplane import loader, syscall

URLS = (f"http://{VIP4}/", f"http://[{VIP6}]/")


def ask(stand: Stand, requests: int, *urls: str) -> tuple[Counter[str], int]:
    """Make requests on new connections; returns who answered, and how many failed."""
    options = [part for url in urls or URLS for part in ("--url", url)]
    argv = [sys.executable, "-m", "tools.lab.load", *options, "--workers", "2", "--rate", "2000"]
    sources = [part for source in stand.lab.client_addresses for part in ("--source", source)]
    seconds = ["--seconds", str(requests / 2000)]
    done = stand.lab.run("client", [*argv, *sources, *seconds], timeout=20)
    total = json.loads(done.stdout.splitlines()[-1])
    return Counter(total["backends"]), sum(total["failures"].values())


def test_every_backend_answers_in_both_families_and_nothing_fails(running: Stand) -> None:
    for url in URLS:
        answered, failed = ask(running, 1000, url)
        assert set(answered) == {"b1", "b2", "b3"}
        assert failed == 0


def test_counters_of_balancer_and_backends_agree_to_the_packet(running: Stand) -> None:
    """Agents take the header off probes, too, which the tunnel counts, all together."""

    def taken_and_sent() -> tuple[int, int]:
        taken = sum(running.decapped(host)["packets"] for host in running.lab.backends)
        status = running.client.status()
        return taken, status["forwarded"]["packets"] + status["probes"]["sent"]

    def stands_still() -> tuple[int, int] | None:
        found = taken_and_sent()
        return found if found == taken_and_sent() else None

    before = wait_for(stands_still, "counters that stand still")

    ask(running, 600)

    def agree() -> bool:
        taken, sent = (now - was for now, was in zip(taken_and_sent(), before, strict=True))
        return taken == sent > 1000

    wait_for(agree, "equal counters", 3)


def test_a_dead_server_is_seen_and_loses_only_its_own_slots(running: Stand) -> None:
    slots = {host: running.backend(host)["slots"] for host in running.lab.backends}

    running.kill_server("b2")
    running.wait_state("b2", "down", 5)

    assert "refused" in running.backend("b2")["reason"]
    answered, failed = ask(running, 600)
    assert (set(answered), failed) == ({"b1", "b3"}, 0)
    running.start_server("b2")
    running.wait_state("b2", "up", 5)
    assert {host: running.backend(host)["slots"] for host in running.lab.backends} == slots


def test_no_connection_breaks_when_backends_come_go_and_come_back(running: Stand, tmp_path: Path) -> None:
    report = tmp_path / "load"
    load = running.start_load(report, *(p for url in URLS for p in ("--url", url)), "--rate", "1000", "--keep", "20")
    wait_for(lambda: len(read_report(report)) >= 1, "load")
    for change in (
        "drain b3",
        "undrain b3",
        "drain b1",
        "remove b2 --now",
        "undrain b1",
        f"add web {address('b2')} --backend-name b2",
    ):
        done = running.run("backend", *change.split())
        assert done.returncode == 0, done.stderr
        seconds = len(read_report(report))
        wait_for(lambda seen=seconds: len(read_report(report)) > seen, "a second of load")  # type: ignore[misc]
    load.send_signal(signal.SIGTERM)
    load.wait(5)

    total = read_report(report)[-1]
    assert total["requests"] > 1000
    removed = [f for line in read_report(report)[:-1] for f in line["failures"]]
    # `remove --now` without a drain before it breaks what that backend served, and nothing else.
    assert len(removed) <= 8 * 2


def test_sigkill_costs_no_request_and_the_next_daemon_writes_nothing(running: Stand, tmp_path: Path) -> None:
    report = tmp_path / "load"
    running.run("backend", "drain", "b3")
    load = running.start_load(report, *(p for url in URLS for p in ("--url", url)), "--rate", "1000")
    wait_for(lambda: read_report(report), "load")

    running.kill_daemon()
    wait_for(lambda: len(read_report(report)) >= 3, "load without a daemon")
    running.start_daemon(QUICKSTART)
    wait_for(lambda: len(read_report(report)) >= 5, "load with a new daemon")
    load.send_signal(signal.SIGTERM)
    load.wait(5)

    status = running.client.status()
    assert (status["start"]["adopted"], status["start"]["writes"]) == (True, 0)
    assert status["config"]["changes"] == ["backend web/b3 draining"]
    assert read_report(report)[-1]["failures"] == {}
    assert "reconcile wrote 0 map entries" in running.log.read_text()


def test_a_stopped_daemon_leaves_forwarding_on_and_detach_ends_it(running: Stand) -> None:
    assert running.daemon is not None
    running.daemon.send_signal(signal.SIGINT)
    assert running.daemon.wait(5) == 0
    assert ask(running, 200)[1] == 0

    done = running.run("detach")

    assert done.stdout == f"{running.name}: detached from 1 interface(s)\n"
    assert ask(running, 20)[0] == Counter()


def test_new_backend_of_another_family_swaps_the_program_without_a_failure(running: Stand, tmp_path: Path) -> None:
    four = "".join(line for line in QUICKSTART.read_text().splitlines(True) if "fd00:13" not in line)
    config = tmp_path / "four.toml"
    config.write_text(four)
    running.kill_daemon()
    running.forget_balancer()
    running.start_daemon(config)
    assert "ipip6" not in running.client.status()["interface"]["compiled"]
    report = tmp_path / "load"
    load = running.start_load(report, "--url", URLS[0], "--rate", "1000")
    wait_for(lambda: read_report(report), "load")

    done = running.run("backend", "add", "web", address("b3", 6), "--backend-name", "b3")

    assert "b3 added, now up" in done.stdout
    assert "ipip6" in running.client.status()["interface"]["compiled"]
    wait_for(lambda: len(read_report(report)) >= 3, "load")
    load.send_signal(signal.SIGTERM)
    load.wait(5)
    total = read_report(report)[-1]
    assert (total["failures"], set(total["backends"])) == ({}, {"b1", "b2", "b3"})


def test_neighbour_that_does_not_answer_is_told_and_gets_no_traffic(running: Stand) -> None:
    done = running.run("backend", "add", "web", "10.0.2.99", "--backend-name", "ghost")

    assert "ghost added, now unreachable (neighbour 10.0.2.99 on eth0 does not answer)" in done.stdout
    ghost = running.backend("ghost")
    assert (ghost["state"], ghost["slots"]) == ("unreachable", 0)
    assert ask(running, 300)[1] == 0
    assert running.backend("ghost")["packets"] == 0


def test_a_next_hop_with_a_new_mac_is_followed(running: Stand) -> None:
    with running.lab.inside("router"):
        subprocess.run(["ip", "link", "set", "lb", "address", "02:00:00:00:00:99"], check=True)
    with running.lab.inside("lb"):
        subprocess.run(["ip", "neigh", "flush", "dev", "eth0"], check=True)

    wait_for(lambda: set(ask(running, 100)[0]) == {"b1", "b2", "b3"}, "answers through the new address", 10)


def test_a_program_that_somebody_took_off_is_attached_again(running: Stand) -> None:
    place = loader.Place(running.name)
    link = syscall.get(place.link(running.client.status()["interface"]["index"]))
    syscall.link_detach(link)
    os.close(link)
    assert ask(running, 20)[0] == Counter()

    wait_for(lambda: running.client.status()["interface"]["mode"] == "native", "the program", 8)

    assert ask(running, 200)[1] == 0
    assert "it is attached again" in running.log.read_text()


def test_a_broken_state_file_stops_the_start_and_is_left_as_it_is(stand: Stand) -> None:
    path = state.directory(stand.name) / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("broken")
    done = stand.run("run", str(QUICKSTART))
    assert done.returncode == 1
    assert "state.json cannot be read" in done.stderr
    assert path.read_text() == "broken"


def test_what_was_found_at_another_address_is_not_believed_after_a_restart(running: Stand, tmp_path: Path) -> None:
    running.kill_daemon()
    moved = tmp_path / "moved.toml"
    moved.write_text(QUICKSTART.read_text().replace("10.0.12.2", "10.0.12.77"))

    running.start_daemon(moved)

    assert running.backend("b2")["state"] in ("down", "checking")
    assert running.backend("b2")["slots"] == 0


def reason(stand: Stand, name: str) -> str:
    return str(stand.backend(name)["reason"])


def test_at_its_deadline_a_draining_backend_gets_no_packet_more(running: Stand, tmp_path: Path) -> None:
    report = tmp_path / "load"
    load = running.start_load(report, "--url", URLS[0], "--rate", "500", "--keep", "100000", "--workers", "24")
    wait_for(lambda: running.backend("b2")["packets"] > 100, "load on b2")

    running.client.drain_backend("b2", None, for_s=1.5)
    before = running.backend("b2")["packets"]
    wait_for(lambda: running.backend("b2")["packets"] > before, "the old connections go on")
    wait_for(lambda: reason(running, "b2") == "drained by an operator; its deadline has passed", "the deadline", 5)

    left, others = running.backend("b2")["packets"], running.backend("b1")["packets"]
    wait_for(lambda: running.backend("b1")["packets"] > others + 300, "load on b1")
    assert running.backend("b2")["packets"] <= left + 5  # what was on its way
    load.send_signal(signal.SIGTERM)
    load.wait(5)


def test_a_removal_survives_the_daemon_and_is_done_at_the_start_when_its_time_is_over(running: Stand) -> None:
    running.client.remove_backend("b2", None, for_s=600)
    running.client.remove_backend("b3", None, for_s=1)
    running.kill_daemon()
    path = state.directory(running.name) / "state.json"
    until = json.loads(path.read_text())["overrides"]["removing"]
    assert [entry[:2] for entry in until] == [["web", "b2"], ["web", "b3"]]
    wait_for(lambda: time.time() > until[1][2], "the end of b3's time", 3)

    running.start_daemon(QUICKSTART)

    status = running.client.status()
    assert status["config"]["changes"] == ["backend web/b2 being removed", "backend web/b3 removed"]
    assert "removed when its flows are gone, at the latest " in reason(running, "b2")
    assert "web/b3 removed: its deadline has passed" in running.log.read_text()
    assert [b["name"] for b in status["services"][0]["backends"]] == ["b1", "b2"]


def test_whoever_comes_back_starts_slowly_also_over_a_restart_of_the_daemon(running: Stand, tmp_path: Path) -> None:
    running.kill_daemon()
    config = tmp_path / "slow.toml"
    config.write_text(QUICKSTART.read_text().replace("[[service]]", "[[service]]\nslow_start_s = 16", 1))
    running.start_daemon(config)
    whole = running.backend("b2")["slots"]
    running.client.drain_backend("b2", None)

    running.client.undrain_backend("b2", None)

    first = running.backend("b2")["slots"]
    assert 0 < first < whole / 4
    wait_for(lambda: first < running.backend("b2")["slots"] < whole, "a larger share", 4)
    running.kill_daemon()
    running.start_daemon(config)
    assert first < running.backend("b2")["slots"] < whole
    wait_for(lambda: running.backend("b2")["slots"] == whole, "all of its share", 17)
    assert ask(running, 200)[1] == 0


@pytest.mark.slow
def test_a_removal_waits_for_the_last_flow_and_breaks_none(running: Stand, tmp_path: Path) -> None:
    running.kill_daemon()
    config = tmp_path / "learn.toml"
    config.write_text(QUICKSTART.read_text().replace("[[service]]", "[[service]]\nlearn_window_s = 2", 1))
    running.start_daemon(config)
    report = tmp_path / "load"
    load = running.start_load(report, "--url", URLS[0], "--rate", "300", "--keep", "100000", "--workers", "24")
    wait_for(lambda: running.backend("b2")["packets"] > 100, "load on b2")

    running.client.remove_backend("b2", None)

    def flows() -> dict[str, Any]:
        return running.client.departures("b2", None)[0]

    wait_for(lambda: flows()["flows_left"] and not flows()["learning"], "all flows known", 8)
    assert not flows()["gone"]
    told = running.run("backend", "remove", "b2").stdout.splitlines()[-1]
    assert re.fullmatch(r"web/b2: \d+ flows left", told), told
    before = running.backend("b2")["packets"]
    wait_for(lambda: running.backend("b2")["packets"] > before, "the connections go on")
    load.send_signal(signal.SIGTERM)
    load.wait(5)
    done = running.run("backend", "remove", "b2", "--wait", timeout_s=150)

    assert done.stdout.splitlines()[-1] in ("web/b2 is removed", "web/b2 removed"), done.stdout
    assert "web/b2 removed: its flows are gone" in running.log.read_text()
    assert read_report(report)[-1]["failures"] == {}


def test_where_no_flow_is_kept_a_removal_is_over_at_once(running: Stand, tmp_path: Path) -> None:
    running.kill_daemon()
    config = tmp_path / "learn.toml"
    config.write_text(QUICKSTART.read_text().replace("[[service]]", "[[service]]\nlearn_window_s = 0", 1))
    running.start_daemon(config)

    running.client.remove_backend("b2", None)

    wait_for(lambda: running.client.status()["config"]["changes"] == ["backend web/b2 removed"], "the removal", 3)
