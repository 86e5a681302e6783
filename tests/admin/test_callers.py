"""Who has which role: by user, group and certificate."""

from __future__ import annotations

import os
import socket

import pytest

from xdplb.admin.callers import Caller, find_certificate, find_peer, role_of_user, unknown_users
from xdplb.model import Admin, Role


def test_root_may_do_everything_and_nobody_else_anything_unless_named() -> None:
    assert role_of_user(Admin(), 0, set()) is Role.ADMIN
    assert role_of_user(Admin(), 1000, {1000}) is None


@pytest.mark.parametrize(
    ("admin", "role"),
    [
        (Admin(read=("65534",)), Role.READ),
        (Admin(operate=("nobody",)), Role.OPERATE),
        (Admin(admin=("@adm",)), Role.ADMIN),
        (Admin(read=("nobody",), operate=("@4",)), Role.OPERATE),
        (Admin(read=("somebody", "@audio")), None),
    ],
)
def test_a_user_has_the_highest_role_of_name_number_and_groups(admin: Admin, role: Role | None) -> None:
    assert role_of_user(admin, 65534, {65534, 4}) is role  # nobody, in the group adm


def test_who_may_what() -> None:
    operator = Caller("ops", Role.OPERATE)
    assert (operator.may(Role.READ), operator.may(Role.OPERATE), operator.may(Role.ADMIN)) == (True, True, False)
    assert not Caller("anybody").may(Role.READ)


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = find_peer(ours, Admin(read=(str(os.getuid()),)))
    assert (found.details["uid"], found.details["pid"]) == (os.getuid(), os.getpid())
    assert found.role is (Role.ADMIN if os.getuid() == 0 else Role.READ)
    assert found.details["comm"]


def test_a_certificate_is_known_by_its_dns_names_and_its_common_name_exactly() -> None:
    admin = Admin(certificates=(("ops.example", Role.OPERATE), ("Mary", Role.READ)))
    peer = {"subject": ((("commonName", "Mary"),),), "subjectAltName": (("DNS", "ops.example"),), "serialNumber": "7"}
    found = find_certificate(peer, "192.0.2.9", admin)
    assert (found.who, found.role) == ("ops.example", Role.OPERATE)
    assert found.details == {"certificate": "ops.example", "serial": "7", "address": "192.0.2.9"}
    assert find_certificate({**peer, "subjectAltName": ()}, "", admin).role is Role.READ

    other = {"subject": ((("organizationName", "Mary"),),), "subjectAltName": (("DNS", "x.ops.example"),)}
    assert (find_certificate(other, "", admin).who, find_certificate(other, "", admin).role) == ("x.ops.example", None)
    assert find_certificate({}, "", admin).who == "a certificate without a name"


def test_names_that_this_machine_does_not_know_are_told() -> None:
    admin = Admin(read=("root", "no-such-user", "4711", "@adm"), admin=("@no-such-group",))
    assert list(unknown_users(admin)) == [
        "admin.read: this machine has no user 'no-such-user'",
        "admin.admin: this machine has no group 'no-such-group'",
    ]
