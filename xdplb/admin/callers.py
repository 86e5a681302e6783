"""Who asks, and what they may do: by the kernel's word on the Unix socket, by the certificate on TCP."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xdplb.model import Admin, Role

_PEERCRED, _PEERGROUPS = 17, 59  # SO_* of asm-generic/socket.h; Python knows only the first
_MOST_BYTES = 1024  # that Python takes from getsockopt: 256 groups


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of a connection; `details` are for the audit log."""

    who: str
    role: Role | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def may(self, needed: Role) -> bool:
        """Return whether what needs this role may be done."""
        return self.role is not None and self.role.includes(needed)


def find_peer(connection: socket.socket, admin: Admin) -> Caller:
    """Return who has the other end of a Unix socket: as it was when they connected, whatever they became since."""
    pid, uid, gid = array("I", connection.getsockopt(socket.SOL_SOCKET, _PEERCRED, 12))
    groups = {gid, *_groups(connection, uid, gid)}
    details = {"uid": uid, "gid": gid, "pid": pid, "comm": _comm(pid)}
    return Caller(_user_name(uid), role_of_user(admin, uid, groups), details)


def _groups(connection: socket.socket, uid: int, gid: int) -> list[int]:
    """Return the process's groups; of a process with very many, those that its user has by name."""
    try:
        return list(array("I", connection.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, _MOST_BYTES)))
    except OSError:
        return os.getgrouplist(_user_name(uid), gid)


def role_of_user(admin: Admin, uid: int, groups: set[int]) -> Role | None:
    """Return the highest role that a user has by itself or by a group."""
    if uid == 0:
        return Role.ADMIN
    names = {str(uid), _user_name(uid), *(f"@{name}" for name in _group_names(groups)), *(f"@{g}" for g in groups)}
    return next((role for role in reversed(Role) if names & set(admin.users[role])), None)


def find_certificate(peer: dict[str, Any], address: str, admin: Admin) -> Caller:
    """Return who showed a certificate (as `SSLSocket.getpeercert` gives it): by DNS names, then by common name."""
    names = [name for kind, name in peer.get("subjectAltName", ()) if kind == "DNS"]
    names += [value for part in peer.get("subject", ()) for key, value in part if key == "commonName"]
    roles = dict(admin.certificates)
    known = [name for name in names if name in roles]
    best = max(known, key=lambda name: list(Role).index(roles[name]), default=None)
    who = best or (names[0] if names else "a certificate without a name")
    details = {"certificate": who, "serial": peer.get("serialNumber", ""), "address": address}
    return Caller(who, roles[best] if best else None, details)


def unknown_users(admin: Admin) -> Iterator[str]:
    """Yield what is wrong with names that this machine does not know."""
    for role, users in admin.users.items():
        for user in users:
            if user.lstrip("@").isdecimal():
                continue
            try:
                grp.getgrnam(user[1:]) if user.startswith("@") else pwd.getpwnam(user)
            except KeyError:
                kind, name = ("group", user[1:]) if user.startswith("@") else ("user", user)
                yield f"admin.{role}: this machine has no {kind} {name!r}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group_names(groups: set[int]) -> Iterator[str]:
    for gid in groups:
        with contextlib.suppress(KeyError):
            yield grp.getgrgid(gid).gr_name


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return ""  # gone already, or of another pid namespace
