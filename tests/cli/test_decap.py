"""`xdplb decap`."""

from __future__ import annotations

import json

from tools.lab.stand import ROOT, XDPLB, Stand


def decap(stand: Stand, *arguments: str) -> tuple[int, str, str]:
    done = stand.lab.run("b1", [*XDPLB, "decap", *arguments], cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


def test_status_shows_the_counters(stand: Stand) -> None:
    name = f"{stand.name}-b1"
    status, out, _ = decap(stand, "status", "--name", name, "--json")
    assert status == 0
    assert set(json.loads(out)) >= {"packets", "bytes", "ipip", "gue", "dropped_source"}
    assert "dropped_source" in decap(stand, "status", "--name", name)[1]


def test_what_is_wrong_is_refused(stand: Stand) -> None:
    for arguments, words in (
        (["run", "--name", "x", "--interface", "eth7"], "interface 'eth7' does not exist"),
        (["run", "--name", "x", "--interface", "eth0", "--from", "a"], "--from: 'a' is no IP address or prefix"),
        (["run", "--name", "x", "--interface", "eth0", "--from", "10.0.2.2/24"], "behind its prefix; give 10.0.2.0/24"),
        (["run", "--name", "x", "--interface", "eth0", "--vip", "10.9.9.9:80"], "--vip: '10.9.9.9:80' is no IP"),
        (["run", "--name", "x", "--interface", "eth0", "--gue-port", "0"], "--gue-port: 0 is out of range"),
        (["run", "--name", "x", "--interface", "eth0", "--gue-port", "gue"], "--gue-port: 'gue' is no port"),
        (
            ["run", "--name", "x", "--interface", "eth0", "--vip", "10.9.9.9", "--second-chance"],
            "--second-chance: is given without --from BALANCER; give --from BALANCER besides",
        ),
        (
            ["run", "--name", "x", "--interface", "eth0", "--report"],
            "--report: strangers could have reports sent to anybody; give --from BALANCER, or --report-to ADDRESS",
        ),
        (
            ["run", "--name", "x", "--interface", "eth0", "--report-to", "10.0.2.2"],
            "--report-to: does nothing without --report; add --report",
        ),
        (
            ["run", "--name", "x", "--interface", "eth0", "--report", "--report-to", "lb"],
            "--report-to: 'lb' is no IP address",
        ),
        (
            ["run", "--name", "x", "--interface", "eth0", "--report-port", "0"],
            "--report-port: 0 is out of range",
        ),
        (["run", "--name", "x", "--interface", "eth0"], "eth0 has another XDP program: id"),
    ):
        status, _, err = decap(stand, *arguments)
        assert (status, err.count("\n")) == (2, 1), err
        assert words in err
    assert decap(stand, "detach", "--name", "x")[0] == 0


def test_without_an_agent(stand: Stand) -> None:
    assert decap(stand, "status", "--name", "none") == (
        1,
        "",
        "xdplb: no decap agent has been started here under 'none'\n",
    )
