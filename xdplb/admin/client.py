"""The admin API's client: one request, one answer, errors as exceptions. Standard library only: it must start fast."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from xdplb.errors import ConfigError, DaemonError

TIMEOUT_S = 30.0
CHECK_TIMEOUT_S = 600.0  # a probe may take 100 s, and others wait for their turn


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float | None = TIMEOUT_S) -> None:
        super().__init__("xdplb", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """The daemon, as commands see it."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s`: how long the daemon may keep silent, where nothing else is said of a request."""
        self.path, self.timeout_s = path, timeout_s

    def status(self) -> dict[str, Any]:
        """Return the status document. Raises DaemonError."""
        return self._ask("GET", "/v1/status")

    def confirm(self) -> dict[str, Any]:
        """Have what `run --confirm` attached stay. Raises DaemonError when it is too late."""
        return self._ask("POST", "/v1/confirm")

    def add_backend(
        self, service: str, address: str, name: str | None, weight: int, plan: bool = False
    ) -> dict[str, Any]:
        """Add a backend to a service. Raises ConfigError, DaemonError."""
        body = {"address": address, "weight": weight, **({"name": name} if name else {})}
        return self._ask("POST", f"/v1/services/{quote(service, safe='')}/backends{_query(plan=plan)}", body)

    def remove_backend(
        self, backend: str, service: str | None, for_s: float | None = None, now: bool = False, plan: bool = False
    ) -> dict[str, Any]:
        """Remove a backend, everywhere or from one service, when its flows are gone. Raises ConfigError, DaemonError.

        `for_s`: in so many seconds at the latest; `now`: at once.
        """
        return self._ask("DELETE", _backend(backend) + _query(service=service, for_s=for_s, now=now, plan=plan))

    def drain_backend(
        self, backend: str, service: str | None, for_s: float | None = None, plan: bool = False
    ) -> dict[str, Any]:
        """Send no new flows to a backend; after `for_s` seconds, none at all. Raises ConfigError, DaemonError."""
        return self._ask("PUT", f"{_backend(backend)}/drain{_query(service=service, for_s=for_s, plan=plan)}")

    def undrain_backend(self, backend: str, service: str | None, plan: bool = False) -> dict[str, Any]:
        """Take a drain or a removal back. Raises ConfigError, DaemonError."""
        return self._ask("DELETE", f"{_backend(backend)}/drain{_query(service=service, plan=plan)}")

    def weigh_backend(self, backend: str, service: str | None, weight: int, plan: bool = False) -> dict[str, Any]:
        """Give a backend another weight. Raises ConfigError, DaemonError."""
        body = {"weight": weight}
        return self._ask("PUT", f"{_backend(backend)}/weight{_query(service=service, plan=plan)}", body)

    def departures(self, backend: str, service: str | None) -> list[dict[str, Any]]:
        """Return how far a backend's leaving is, in each service that has it. Raises ConfigError, DaemonError."""
        found: list[dict[str, Any]] = self._ask("GET", _backend(backend) + _query(service=service))["backends"]
        return found

    def check(self, backend: str, service: str | None) -> list[dict[str, Any]]:
        """Run each check of a backend once; return what happened. Raises ConfigError, DaemonError."""
        path = f"{_backend(backend)}/check{_query(service=service)}"
        found: list[dict[str, Any]] = self._ask("POST", path, timeout_s=CHECK_TIMEOUT_S)["checks"]
        return found

    def events(self, follow: bool = False) -> Iterator[dict[str, Any]]:
        """Yield what happened to backends; with `follow`, for ever. Raises DaemonError."""
        connection = _Connection(self.path, None if follow else TIMEOUT_S)
        with contextlib.closing(connection), _told(self.path):
            connection.request("GET", f"/v1/events{_query(follow=follow)}")
            for line in connection.getresponse():
                name, _, rest = line.decode().partition(": ")
                if name == "data":
                    yield json.loads(rest)
        if follow:
            raise DaemonError("the daemon has ended")

    def plan(self, config: str) -> dict[str, Any]:
        """Return what a restart with this text of a configuration would change. Raises ConfigError, DaemonError."""
        return self._ask("POST", "/v1/plan", {"config": config})

    def clear_flows(self) -> dict[str, Any]:
        """Forget all remembered flows. Raises DaemonError."""
        return self._ask("DELETE", "/v1/flows")

    def change_lists(self, changes: dict[str, str | None]) -> dict[str, Any]:
        """Put prefixes on the "block" or "allow" list, or with None off both. Raises ConfigError, DaemonError."""
        return self._ask("PATCH", "/v1/guard", changes)

    def look_up(self, address: str) -> dict[str, Any]:
        """Return what the guard's lists say of an address. Raises ConfigError, DaemonError."""
        return self._ask("GET", "/v1/guard?" + urlencode({"address": address}))

    def _ask(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> dict[str, Any]:
        with contextlib.closing(_Connection(self.path, timeout_s or self.timeout_s)) as connection, _told(self.path):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            document: dict[str, Any] = json.loads(answer.read())
        if answer.status == 400:
            key, _, rest = document["error"].partition(": ")
            raise ConfigError(key, rest)
        if answer.status >= 300:
            raise DaemonError(document["error"])
        return document


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in our words what went wrong between the command and the daemon."""
    try:
        yield
    except UnicodeEncodeError:
        raise ConfigError("argument", "is not text in UTF-8", "type the name as `xdplb status` shows it") from None
    except PermissionError:
        raise DaemonError(f"no permission for {path}; use `sudo`, or get a role in [admin]") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise DaemonError(
            f"no daemon answers at {path}; start it with `xdplb run CONFIG`, or see `systemctl status xdplb`"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DaemonError(f"the daemon at {path} did not answer ({error or type(error).__name__})") from None


def _backend(name: str) -> str:
    return f"/v1/backends/{quote(name, safe='')}"


def _query(**parameters: str | float | bool | None) -> str:
    """Return what is given as a query; a flag is 1 or left away."""
    given = {name: value for name, value in parameters.items() if value not in (None, "") and value is not False}
    texts = {
        name: value if isinstance(value, str) else str(round(value, 3))
        for name, value in given.items()
        if value is not None
    }
    return "?" + urlencode(texts) if texts else ""
