"""Another configuration is taken up while packets flow: all of it, or nothing; and warm is equal to cold."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from tests.rig.packets import config, dns, service
from tests.rig.reloading import DNS, TEXT, Reloading
from tools.lab.stand import wait_for
from xdplb.errors import ConfigError, DaemonError
from xdplb.model import Balancer
from xdplb.reload import keep_same, sources, tunnel_settings


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def picture(reloading: Reloading) -> dict[str, Any]:
    """What must be the same after a reload and after a start with the same file."""
    status = reloading.client.status()
    services = [
        {
            **{name: service[name] for name in ("name", "vips", "ring_size")},
            "backends": [
                {name: b[name] for name in ("name", "address", "weight", "state", "slots")}
                | {"checks": [{name: c[name] for name in ("kind", "through", "to")} for c in b["checks"]]}
                for b in service["backends"]
            ],
        }
        for service in status["services"]
    ]
    return {
        "services": services,
        "compiled": status["interface"]["compiled"],
        "layout": status["interface"]["layout"],
        "code": status["interface"]["code"],
        "guard": {name: status["guard"][name] for name in ("blocked", "allowed")},
        "interfaces": [nic["name"] for nic in status["interfaces"] if nic["program_id"]],
        "changes": status["config"]["changes"],
    }


def test_a_changed_file_is_taken_up_without_a_restart(reloading: Reloading) -> None:
    pid = reloading.client.status()["pid"]

    text = changed('name = "b2", address = "10.0.12.2"', 'name = "b2", address = "10.0.12.2", weight = 7')
    done = reloading.put(text + DNS)

    status = reloading.client.status()
    assert status["pid"] == pid
    assert done["slots_moved"]["web"] > 0
    assert done["writes"] > done["slots_moved"]["web"]
    assert reloading.stand.backend("b2")["weight"] == 7
    assert [s["name"] for s in status["services"]] == ["web", "dns"]
    assert status["config"]["error"] is None


WRONG = {
    "not TOML": ("[balancer", "is not TOML"),
    "a key": (changed("check =", "chekc ="), "service.web.chekc: unknown key"),
    "a name": (changed("[balancer]", '[balancer]\nname = "other"'), "balancer.name: 'other', and "),
    "a mode": (
        changed("[balancer]", '[balancer]\nmode = "generic"'),
        'balancer.mode: "generic", and "native" is attached',
    ),
    "an interface": (changed('"eth0"', '["eth0", "eth7"]'), "balancer.interface: interface 'eth7' does not exist"),
    "a list": (TEXT + '[guard]\nblock_file = "nowhere"\n', "guard.block_file: "),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_changes_nothing_and_is_told(reloading: Reloading, wrong: str) -> None:
    text, words = WRONG[wrong]
    before = picture(reloading)
    if wrong == "a name":  # the daemon's was typed, and is the one that counts
        assert reloading.put(text)["slots_moved"] == {"web": 0}
        return

    with pytest.raises(ConfigError) as caught:
        reloading.put(text)

    assert words in str(caught.value)
    status = reloading.client.status()
    assert words in status["config"]["error"]["what"]
    assert any(words in warning for warning in status["warnings"])
    assert picture(reloading) == before
    reloading.put(TEXT)
    assert reloading.client.status()["config"]["error"] is None


VARIANTS: dict[str, Callable[[str], str]] = {
    "a second service": lambda text: text + DNS,
    "a limit": lambda text: text.replace("[[service]]", "[[service]]\nlimits = { packets_per_s = 5000 }", 1),
    "blocked": lambda text: text + '[guard]\nblock = ["203.0.113.0/24", "2001:db8:bad::/48"]\n',
    "other key": lambda text: text.replace("[balancer]", '[balancer]\nhash_key = "k"', 1),
    "mtu": lambda text: text.replace("[balancer]", "[balancer]\nmtu = 1400", 1),
    "many flows": lambda text: text.replace("[balancer]", "[balancer]\nmax_flows = 300000", 1),
    "client": lambda text: text.replace("[[service]]", '[[service]]\naffinity = "client"', 1),
    "tunnel": lambda text: text.replace("rise = 2", 'through = "tunnel", rise = 2', 1),
    "passive": lambda text: text.replace("[[service]]", "[[service]]\npassive = true", 1),
    "slow": lambda text: text.replace("[[service]]", "[[service]]\nslow_start_s = 0.1", 1),
    "ring": lambda text: text.replace("[[service]]", "[[service]]\nring_size = 2048", 1),
    "source": lambda text: text.replace("[balancer]", '[balancer]\nsource4 = "10.0.2.64/26"', 1),
}
LAST = ("passive", "tunnel", "ring", "a second service", "blocked", "other key")


@pytest.mark.slow
def test_after_any_reloads_all_is_as_after_a_start_with_the_last_file(reloading: Reloading) -> None:
    """Warm equals cold: of all that a file can change, in two steps, since each is a compilation."""
    reloading.client.weigh_backend("b3", None, 60)
    for some in (VARIANTS, LAST):
        text = TEXT
        for name in some:
            text = VARIANTS[name](text)
        reloading.put(text)
    wait_for(lambda: {b["state"] for s in picture(reloading)["services"] for b in s["backends"]} == {"up"}, "all up", 5)
    warm = picture(reloading)

    reloading.stand.kill_daemon()
    reloading.stand.start_daemon(reloading.file)
    assert reloading.stand.daemon is not None
    reloading.daemon = reloading.stand.daemon

    wait_for(lambda: picture(reloading) == warm, "the same again", 5)
    assert reloading.client.status()["start"]["writes"] == 0


def test_hangup_takes_the_file_up_and_a_watched_file_is_taken_up_by_itself(reloading: Reloading) -> None:
    assert reloading.stand.daemon is not None
    reloading.file.write_text(changed("[balancer]", '[balancer]\nreload = "watch"'))
    reloading.stand.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: "watch" in reloading.client.config()["text"], "the hangup's work", 5)

    beside = reloading.file.with_suffix(".new")
    beside.write_text(reloading.client.config()["text"] + DNS)
    os.replace(beside, reloading.file)
    wait_for(lambda: len(reloading.client.status()["services"]) == 2, "the new file", 5)

    reloading.file.write_text("broken")
    wait_for(lambda: reloading.client.status()["config"]["error"], "the error", 5)
    assert len(reloading.client.status()["services"]) == 2


def test_run_time_changes_outlast_reloads_until_the_file_says_them(reloading: Reloading) -> None:
    reloading.client.weigh_backend("b2", None, 50)
    reloading.client.drain_backend("b3", None)

    assert reloading.put(TEXT + DNS)["changes"] == ["backend web/b2 has weight 50", "backend web/b3 draining"]
    weighed = changed('address = "10.0.12.2"', 'address = "10.0.12.2", weight = 50')
    assert reloading.put(weighed)["changes"] == ["backend web/b3 draining"]
    reloading.client.undrain_backend("b3", None)
    assert reloading.put(TEXT)["changes"] == []
    assert reloading.stand.backend("b2")["weight"] == 100


def test_a_service_is_not_left_without_anybody_unless_told(reloading: Reloading) -> None:
    lost = (
        changed('"10.0.11.2"', '"10.0.11.77"').replace("10.0.12.2", "10.0.11.78").replace("fd00:13::2", "fd00:11::77")
    )
    before = picture(reloading)

    with pytest.raises(ConfigError, match=r"service\.web: no backend would get new flows: b1 is ") as caught:
        reloading.client.apply(lost, reloading.file)
    assert "give --allow-down web" in str(caught.value)
    assert picture(reloading) == before
    with pytest.raises(ConfigError, match="there is no service 'nope'"):
        reloading.client.apply(lost, reloading.file, allow_down=["nope"])

    assert reloading.client.apply(lost, reloading.file, allow_down=["web"])["slots_moved"]["web"] > 0


def test_what_the_kernel_refuses_changes_nothing_and_interfaces_come_and_go(reloading: Reloading) -> None:
    """A bridge has no native XDP: that is found out only when it is attached to, at the very end."""

    def on(*names: str) -> str:
        return changed('"eth0"', str(["eth0", *names]).replace("'", '"'))

    with reloading.stand.lab.inside("lb"):
        subprocess.run(["ip", "link", "add", "odd0", "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "add", "two0", "type", "veth", "peer", "two1"], check=True)
    try:
        reloading.put(on("two1"))
        before = picture(reloading)
        assert before["interfaces"] == ["eth0", "two1"]
        with pytest.raises(DaemonError, match="odd0: the kernel refused XDP in native mode"):
            reloading.put(on("two1", "odd0") + DNS)
        assert picture(reloading) == before
        assert "odd0: the kernel refused" in reloading.client.status()["config"]["error"]["what"]
        reloading.put(on("two0"))
        assert picture(reloading)["interfaces"] == ["eth0", "two0"]
    finally:
        with reloading.stand.lab.inside("lb"):
            for name in ("odd0", "two0"):
                subprocess.run(["ip", "link", "del", name], check=True)


def test_parts_that_are_equal_stay_the_same_objects() -> None:
    before, after = config(service(), dns()), config(service(), replace(dns(), ring_size=2048))
    found = keep_same(before, after)
    assert found == after
    assert found.services[0] is before.services[0]
    assert found.services[1] is after.services[1]
    assert found.balancer is before.balancer


def test_sources_are_the_first_address_of_a_prefix() -> None:
    balancer = Balancer(("eth0",), source4=IPv4Network("10.0.2.64/26"), dont_fragment=False)
    assert {v: str(s) for v, s in sources(balancer).items()} == {4: "10.0.2.64", 6: "None"}
    settings = tunnel_settings(balancer)
    assert (settings.outer_df, settings.source4_bits, settings.source6_bits) == (False, 6, 0)
