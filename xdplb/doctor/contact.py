"""Find the configuration file and the daemon, and what of its status needs a closer look."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from xdplb.admin.client import Client
from xdplb.config import read_config
from xdplb.doctor import reading
from xdplb.doctor.facts import Running, Table
from xdplb.errors import ConfigError, DaemonError
from xdplb.model import Address, Config, Guard

DEFAULT = Path("/etc/xdplb.toml")


def read_file(path: Path) -> tuple[Config | None, str]:
    """Return a configuration, or what is wrong with it."""
    try:
        return read_config(path), ""
    except ConfigError as error:
        return None, str(error)


def find_daemon(client: Client, answer_s: float) -> Running | None:
    """Return the daemon, if somebody listens there."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.settimeout(answer_s)
        try:
            listener.connect(str(client.path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError:  # its queue is full: the answer will not come either
            pass
    try:
        return Running(str(client.path), True, client.status(answer_s))
    except DaemonError:
        return Running(str(client.path), False)


def path_of(running: Running | None) -> Path:
    """Return the file that a daemon runs with; a relative path is relative to where it was started."""
    if running is None or not running.answers:
        return DEFAULT
    path = Path(running.status["config"]["path"])
    with contextlib.suppress(OSError):
        return Path(reading.PROC / str(running.status["pid"]) / "cwd").readlink() / path
    return path


def read_since(status: Mapping[str, Any], path: Path) -> bool:
    """Whether this is the daemon's own file, and has not been written since the daemon took it up."""
    own = path_of(Running("", True, status))
    with contextlib.suppress(OSError):
        return own.samefile(path) and path.stat().st_mtime < status["config"]["taken_up"]
    return False


def doubtful(status: Mapping[str, Any]) -> Iterable[tuple[Address, int]]:
    """Yield where to ask backends directly whose checks get no answer."""
    for service in status["services"]:
        for backend in service["backends"]:
            failed = [c for c in backend["checks"] if c["up"] is False]
            if backend["state"] == "down" and failed:
                port = failed[0]["to"].rsplit(":", 1)[-1]
                yield ip_address(backend["address"]), int(port) if port.isdigit() and int(port) else 7  # RFC 862


def tables(status: Mapping[str, Any], guard: Guard) -> Iterable[Table]:
    """Yield the tables that do not grow by themselves."""
    flows, lists = status["flows"], status["guard"]
    yield Table("remembered flows", flows["remembered"], flows["room"], "balancer.max_flows")
    yield Table("prefixes on the lists", lists["blocked"] + lists["allowed"], guard.max_prefixes, "guard.max_prefixes")
