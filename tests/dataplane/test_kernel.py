"""Tables in the kernel: written as meant, read as written, adopted by whoever comes next."""

from __future__ import annotations

from ipaddress import ip_address

from tests.rig.packets import BACKENDS4, BACKENDS6, config, dns, service, tcp
from tests.rig.xdp import Action, Xdp, desired
from xdplb.dataplane.kernel import Kernel
from xdplb.hashing import vip_key
from xdplb.reconcile import reconcile
from xdplb.tables import BackendRow, PutBackend, PutSlots, Tables


def test_rows_are_read_as_they_were_written(xdp: Xdp) -> None:
    services = desired(config(service(backends=[*BACKENDS4, *BACKENDS6]), dns()))
    spec = xdp.kernel.spec
    changes = reconcile(services, Tables(slots=[0] * spec.capacity.slots), spec.capacity, spec.seed)

    xdp.kernel.apply(changes)

    tables = xdp.kernel.tables()
    assert tables.backends == {c.index: c.row for c in changes if isinstance(c, PutBackend)}
    assert {row.key for row in tables.services.values()} >= {vip_key(vip) for s in services for vip in s.vips}
    written = {slot: word for c in changes if isinstance(c, PutSlots) for slot, word in c.entries.items()}
    assert {slot: tables.slots[slot] for slot in written} == written


def test_another_process_adopts_program_and_tables_and_has_nothing_to_write(xdp: Xdp) -> None:
    services = xdp.serve(config(service(), dns(BACKENDS6)))
    xdp.run(tcp())
    before = xdp.kernel.traffic()

    other = Kernel.load(xdp.place, xdp.kernel.spec)

    assert other.pinned.adopted
    assert reconcile(services, other.tables(), other.spec.capacity, other.spec.seed) == []
    assert other.traffic() == before
    other.close()


def test_a_fresh_backend_starts_counting_at_0(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=BACKENDS4[:1])))
    xdp.run(tcp())
    assert xdp.kernel.traffic()

    (web,) = xdp.serve(config(service(backends=BACKENDS4[:1])))

    assert xdp.kernel.traffic()[web.backends[0].identity].packets == 0


def test_index_of_a_removed_backend_is_free_and_its_row_still_leads_somewhere(xdp: Xdp) -> None:
    """A packet that read its slot before the change may use the row after it."""
    xdp.serve(config(service(backends=BACKENDS4[:1])))
    index = next(iter(xdp.kernel.tables().backends))
    xdp.apply(())
    assert xdp.kernel.tables().backends == {}

    xdp.serve(config(service(backends=BACKENDS4[:1])))
    xdp.kernel.apply([])
    assert next(iter(xdp.kernel.tables().backends)) == index
    assert xdp.run(tcp())[0] is Action.TX


def test_a_change_of_next_hop_is_followed_by_the_next_packet(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=BACKENDS4[:1])))
    ((index, row),) = xdp.kernel.tables().backends.items()
    mac = bytes.fromhex("02aabbccddee")
    moved = BackendRow(mac + row.ethernet[6:], row.source, row.address, row.egress, row.identity)

    xdp.kernel.apply([PutBackend(index, moved, fresh=False)])

    assert bytes(xdp.run(tcp())[1])[:6] == mac
    assert ip_address("10.0.2.2") == row.source


def test_memory_is_what_the_maps_hold(xdp: Xdp) -> None:
    assert 100_000 < xdp.kernel.map_bytes < 10_000_000
