"""The daemon and its file on plain facts."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.boxes import box, only, running
from xdplb.doctor.finding import Finding
from xdplb.doctor.running import detach_of, judge, warnings


def test_nothing_is_said_of_a_daemon_that_runs_what_the_file_says() -> None:
    assert list(judge(box(running=running(open_files=1024)))) == []


def test_without_a_daemon_it_matters_whether_its_program_is_there() -> None:
    assert only(judge(box(running=None))).check == "daemon-absent"
    assert only(judge(box(running=None, attached=True))).check == "daemon-dead"
    assert only(judge(box(running=None, attached=True, starting=True))).check == "daemon-starting"


def test_what_the_status_says() -> None:
    failed = running()
    failed = replace(failed, status={**failed.status, "reconcile": {"error": "no space"}})
    assert only(judge(box(running=failed))).seen == "the last reconcile failed: no space"
    assert only(judge(box(running=running(differences=("service new added",))))).check == "config-differs"
    assert only(judge(box(running=running(open_files=60)))).fixes[0].endswith("LimitNOFILE=65536")


def test_the_daemons_warnings_are_told_unless_another_finding_mends_the_same() -> None:
    daemon = running()
    said = ["eth0 has MTU 1500: run `ip link set eth0 mtu 1520`", "the state cannot be written"]
    known = [Finding("mtu-interface", "", ("ip link set eth0 mtu 1520",))]
    patient = box(running=replace(daemon, status={**daemon.status, "warnings": said}))
    assert only(warnings(patient, known)).seen == "the state cannot be written"
    assert len(list(warnings(patient, []))) == 2
    carrier = box(running=replace(daemon, status={**daemon.status, "warnings": ["eth0 has no carrier; look at it"]}))
    assert list(warnings(carrier, [Finding("interface-down", "eth0 has no carrier: cable")])) == []


def test_pins_of_agents_have_a_command_of_their_own() -> None:
    assert detach_of("decap-b1") == "xdplb decap detach --name b1"
    assert detach_of("edge") == "xdplb --name edge detach"
