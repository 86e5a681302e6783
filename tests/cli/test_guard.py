"""`xdplb guard`: sources are refused and let through while the balancer runs."""

from __future__ import annotations

import json

from tests.rig.net import QUICKSTART
from tools.lab.net import VIP4, VIP6
from tools.lab.stand import Stand

ASK = (
    "import socket, sys\n"
    "try:\n"
    "    socket.create_connection((sys.argv[1], 80), 1, (sys.argv[2], 0)).close()\n"
    "    print('served')\n"
    "except OSError as error:\n"
    "    print('refused')\n"
)


def served(stand: Stand, vip: str, source: str) -> bool:
    done = stand.lab.run("client", ["/usr/bin/python3", "-c", ASK, vip, source])
    return done.stdout == "served\n"


def test_block_allow_forget(running: Stand) -> None:
    assert served(running, VIP4, "10.0.1.5")

    done = running.run("guard", "block", "10.0.1.0/24", "fd00:1::/64")
    assert done.stdout.startswith("10.0.1.0/24 blocked\nfd00:1::/64 blocked\nin ")
    assert not served(running, VIP4, "10.0.1.5")
    assert not served(running, VIP6, "fd00:1::5")
    assert running.client.status()["verdicts"]["dropped_blocked"] > 0
    assert "prefixes" in running.client.status()["interface"]["compiled"]

    running.run("guard", "allow", "10.0.1.5")
    assert served(running, VIP4, "10.0.1.5")
    assert not served(running, VIP4, "10.0.1.6")
    assert running.run("guard", "find", "10.0.1.5").stdout == "10.0.1.5 is allowed by 10.0.1.5/32\n"
    assert json.loads(running.run("guard", "find", "10.0.1.6", "--json").stdout)["verdict"] == "block"
    assert "guard: 2 prefixes blocked, 1 allowed" in running.run("status").stdout

    running.kill_daemon()
    running.start_daemon(QUICKSTART)
    assert running.client.status()["start"]["adopted"]
    assert not served(running, VIP4, "10.0.1.6")
    assert "10.0.1.0/24 blocked" in running.client.status()["config"]["changes"]

    running.run("guard", "forget", "10.0.1.0/24", "fd00:1::/64", "10.0.1.5")
    assert served(running, VIP4, "10.0.1.6")
    assert running.run("guard", "find", "10.0.1.6").stdout == "10.0.1.6 is on no list\n"


def test_a_wrong_prefix_is_one_line_and_changes_nothing(running: Stand) -> None:
    done = running.run("guard", "block", "10.0.1.0/24", "10.0.1.1/24")
    assert (done.returncode, done.stderr) == (
        2,
        "xdplb: prefix: 10.0.1.1/24 has host bits set; give 10.0.1.0/24; give a prefix such as 192.0.2.0/24\n",
    )
    assert running.client.status()["guard"]["blocked"] == 0
