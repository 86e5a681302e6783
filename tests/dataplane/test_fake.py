"""The fake answers as the kernel does: same tables in, same backend out, for every flow."""

from __future__ import annotations

from ipaddress import ip_address

from tests.rig.packets import BACKENDS4, BACKENDS6, CLIENT4, CLIENT6, VIP4, VIP6, config, dns, service, tcp
from tests.rig.xdp import Action, Xdp
from xdplb.dataplane.fake import Fake
from xdplb.model import Vip
from xdplb.reconcile import reconcile


def test_fake_and_kernel_choose_the_same_backend(xdp: Xdp) -> None:
    services = xdp.serve(config(service(backends=[*BACKENDS4, *BACKENDS6]), dns()))
    spec = xdp.kernel.spec
    fake = Fake(spec)
    fake.apply(reconcile(services, fake.tables(), spec.capacity, spec.seed))

    for client, vip in ((CLIENT4, VIP4), (CLIENT6, VIP6)):
        for port in range(3000, 3300):
            action, left = xdp.run_bytes(bytes(tcp(port, vip)))
            row = fake.send(ip_address(client), port, Vip(ip_address(vip), 80))
            assert action is Action.TX
            assert not isinstance(row, str)
            assert (left[30:34] if left[12:14] == b"\x08\x00" else left[38:54]) == row.address.packed
    assert fake.tables().services == xdp.kernel.tables().services
    assert fake.tables().backends == xdp.kernel.tables().backends
    assert {i: t.packets for i, t in fake.traffic().items()} == {i: t.packets for i, t in xdp.kernel.traffic().items()}


def test_fake_says_why_a_packet_goes_nowhere(xdp: Xdp) -> None:
    fake = Fake(xdp.kernel.spec)
    assert fake.send(ip_address(CLIENT4), 1, Vip(ip_address(VIP4), 80)) == "passed_no_service"
    assert fake.verdicts() == {"passed_no_service": 1}
