"""Every change through which no flow of a live backend may break, and one that shows what is there to break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, cycle

from tools.consistency.trial import SPARE, Scenario, Trial, other_layout
from tools.lab.balancer import Balancer
from tools.lab.net import address
from xdplb.contract import BPF_DIR
from xdplb.errors import XdplbError

# A service that wants other code: its own protocol, affinity and way to a backend.
OTHER_SERVICE = f"""
[[service]]
name = "dns"
vips = ["10.9.9.10:53"]
protocol = "udp"
affinity = "client"
forward = "gue"
backends = [{{ name = "b1", address = "{address("b1")}" }}]"""


def forget(trial: Trial) -> None:
    """The control: the same as a drain, by a service that keeps no flow where it was. Held flows must break."""
    trial.tell("backend", "drain", "b2")


def add(trial: Trial) -> None:
    """A fourth backend comes."""
    trial.tell("backend", "add", "web", address(SPARE), "--backend-name", SPARE)
    trial.wait_state(SPARE, "up")


def drain_and_remove(trial: Trial) -> None:
    """One is drained, its flows end, it is removed."""
    trial.tell("backend", "drain", "b2")
    trial.settle()
    if not trial.standing().get("b2"):
        raise XdplbError("the drain took b2's flows away before they ended")
    trial.renew()
    trial.tell("backend", "remove", "b2")  # the balancer waits until it has seen that the flows are gone
    trial.wait_gone("b2")


def double_weight(trial: Trial) -> None:
    """One gets twice its share."""
    trial.tell("backend", "weight", "b2", "200")


def flap(trial: Trial) -> None:
    """One is down and up, three times in a row."""
    for _ in range(3):
        trial.check_fails("b3")
        trial.check_passes("b3")


def five_at_random(trial: Trial) -> None:
    """Five changes within one learn window, whose order and kind chance decides."""
    tell = partial(partial, trial.tell, "backend")
    ways: list[Iterator[Callable[[], None]]] = [
        cycle([tell("drain", "b2"), tell("undrain", "b2")]),
        cycle([partial(trial.check_fails, "b3"), partial(trial.check_passes, "b3")]),
        cycle([tell("weight", "b1", "200"), tell("weight", "b1", "50")]),
        chain([partial(add, trial)], cycle([tell("weight", SPARE, "50"), tell("weight", SPARE, "300")])),
    ]
    for _ in range(5):
        next(trial.random.choice(ways))()
        trial.let_run(trial.size.window_s / 12)


def kill_daemon(trial: Trial) -> None:
    """The daemon is killed within the window, and started again."""
    begin(trial)
    trial.restart(Balancer.kill_daemon)


def other_program(trial: Trial) -> None:
    """Within the window the daemon is started with a file that wants another program."""
    begin(trial)
    before = trial.program_id()
    trial.config.write_text(trial.text(OTHER_SERVICE))
    trial.restart(Balancer.stop_daemon)
    if trial.program_id() == before:
        raise XdplbError("the same program is attached: nothing was upgraded")


def other_maps(trial: Trial) -> None:
    """Within the window the daemon is started from sources whose maps look different."""
    begin(trial)
    before = trial.layouts()
    sources = other_layout(BPF_DIR, trial.folder)
    trial.restart(Balancer.stop_daemon, {"XDPLB_BPF_DIR": str(sources)})
    if trial.layouts() <= before:
        raise XdplbError("the maps are the same: nothing was upgraded")


def clear(trial: Trial) -> None:
    """What is remembered is lost within the window, also of flows that began in it."""
    begin(trial)
    trial.renew()
    trial.tell("flows", "clear")


def vanish(trial: Trial) -> None:
    """One of two balancers vanishes within the window, with all that it remembers of flows that began in it."""
    begin(trial)
    trial.renew()
    trial.lose_balancer()


def begin(trial: Trial) -> None:
    """Open a window: slots of b2 move to others."""
    trial.tell("backend", "drain", "b2")
    trial.let_run(trial.size.window_s / 6)


SCENARIOS = (
    Scenario("nothing remembered", forget, breaks=True, remembers=False),
    Scenario("add", add),
    Scenario("drain and remove", drain_and_remove),
    Scenario("double weight", double_weight),
    Scenario("flap three times", flap),
    Scenario("five at random", five_at_random),
    Scenario("daemon killed", kill_daemon),
    Scenario("program upgrade", other_program),
    Scenario("layout upgrade", other_maps),
    Scenario("flows cleared", clear, second_chance=True),
    Scenario("balancer vanishes", vanish, breaks=None, twin=True),
    Scenario("balancer vanishes, second chance", vanish, twin=True, second_chance=True),
)
