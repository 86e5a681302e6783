"""The admin API's client: one request, one answer, errors as exceptions. Standard library only: it must start fast."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from xdplb.errors import ConfigError, DaemonError, NoDaemonError, XdplbError

TIMEOUT_S = 30.0
SOURCES_TIMEOUT_S = 120.0  # they look for 60 s at the most
LONG_TIMEOUT_S = 300.0  # tens of thousands of ways may have to be found
CHECK_TIMEOUT_S = 600.0  # a probe may take 100 s, and others wait for their turn


@dataclass(frozen=True, slots=True)
class Remote:
    """A daemon on another machine: `https://host:port`, our certificate with its key, and who signs the daemon's."""

    url: str
    certificate: str
    key: str
    ca: str

    def __str__(self) -> str:
        return self.url

    def connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        """Return a connection. Raises ConfigError when an option is no use."""
        split = urlsplit(self.url)
        if not re.fullmatch(r"https://(\[[^]]+\]|[^/:@]+)(:[0-9]{1,5})?/?", self.url) or not split.hostname:
            raise ConfigError("--url", f"{self.url!r} is no address of a daemon", "write https://host:8443")
        context = self._context()
        return http.client.HTTPSConnection(split.hostname, split.port or 8443, timeout=timeout_s, context=context)

    def _context(self) -> ssl.SSLContext:
        option = "--ca", self.ca
        try:
            context = ssl.create_default_context(cafile=self.ca)
            option = "--cert", f"{self.certificate} with {self.key}"
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            fix = "give files in PEM, the key without a passphrase"
            raise ConfigError(option[0], f"{option[1]} cannot be used: {why}", fix) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


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

    def __init__(self, path: Path | Remote, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s`: how long the daemon may keep silent, where nothing else is said of a request."""
        self.path, self.timeout_s = path, timeout_s

    def _connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        return self.path.connect(timeout_s) if isinstance(self.path, Remote) else _Connection(self.path, timeout_s)

    def status(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the status document. Raises DaemonError."""
        return self._ask("GET", "/v1/status", timeout_s=timeout_s)

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

    def events(self, follow: bool = False, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield what happened after event `after`; with `follow`, for ever. Raises DaemonError."""
        yield from self.stream(f"/v1/events{_query(follow=follow, after=after or None)}", None if follow else TIMEOUT_S)
        if follow:
            raise DaemonError("the daemon has ended")

    def stream(self, path: str, timeout_s: float | None) -> Iterator[dict[str, Any]]:
        """Yield the data of server-sent events. Raises ConfigError, DaemonError."""
        connection = self._connect(timeout_s)
        with contextlib.closing(connection), _told(self.path):
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status >= 300:
                raise _error(answer.status, json.loads(answer.read()))
            for line in answer:
                name, _, rest = line.decode().partition(": ")
                if name == "data":
                    yield json.loads(rest)

    def audit(self, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Return who changed what, the last ones. Raises DaemonError."""
        found: list[dict[str, Any]] = self._ask("GET", f"/v1/audit{_query(after=after, limit=limit)}")["changes"]
        return found

    def trace(self, asked: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield ("start", {}), ("packet", what became of it)..., ("end", why and how many). Raises as others do.

        `asked` is the query of `GET /v1/trace`.
        """
        connection = self._connect(TIMEOUT_S)
        with contextlib.closing(connection), _told(self.path):
            connection.request("GET", f"/v1/trace{_query(**asked)}")
            answer = connection.getresponse()
            if answer.status >= 300:
                raise _error(answer.status, json.loads(answer.read()))
            kind = ""
            for line in answer:
                name, _, rest = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = rest
                elif name == "data":
                    yield kind, json.loads(rest)
        if kind != "end":
            raise DaemonError("the daemon has ended")

    def sources(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return who sends most. `asked` is the query of `GET /v1/sources`. Raises ConfigError, DaemonError."""
        answer: Any = self._ask("GET", f"/v1/sources{_query(**asked)}", timeout_s=SOURCES_TIMEOUT_S)
        found: list[dict[str, Any]] = answer
        return found

    def plan(self, config: str, path: Path | None = None, measure_s: float = 0.0) -> dict[str, Any]:
        """Return what this text of a configuration, of a file, would change. Raises ConfigError, DaemonError."""
        body = {"config": config, "measure_s": measure_s, **({"path": str(path)} if path else {})}
        return self._ask("POST", "/v1/plan", body, LONG_TIMEOUT_S)

    def apply(
        self, config: str, path: Path, confirm_s: float | None = None, allow_down: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Take up a configuration. Raises ConfigError, DaemonError."""
        body = {"config": config, "path": str(path), "allow_down": list(allow_down)}
        return self._ask("POST", "/v1/apply", body | ({"confirm_s": confirm_s} if confirm_s else {}), LONG_TIMEOUT_S)

    def reload(self) -> dict[str, Any]:
        """Have the daemon take up its own file. Raises ConfigError, DaemonError."""
        return self._ask("POST", "/v1/reload", timeout_s=LONG_TIMEOUT_S)

    def config(self) -> dict[str, Any]:
        """Return the configuration in force. Raises DaemonError."""
        return self._ask("GET", "/v1/config")

    def explain(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what would become of packets (docs/explain.md). Raises ConfigError, DaemonError."""
        found: list[dict[str, Any]] = self._ask("POST", "/v1/explain", question)["explained"]
        return found

    def metrics(self) -> str:
        """Return all metrics as text. Raises DaemonError."""
        with contextlib.closing(self._connect(TIMEOUT_S)) as connection, _told(self.path):
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status >= 300:
            raise DaemonError(f"no metrics ({answer.status} {answer.reason}); restart a daemon of an older version")
        return text

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
        with contextlib.closing(self._connect(timeout_s or self.timeout_s)) as connection, _told(self.path):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            answer = connection.getresponse()
            document: dict[str, Any] = json.loads(answer.read())
        if answer.status >= 300:
            raise _error(answer.status, document)
        return document


def _error(status: int, document: dict[str, Any]) -> XdplbError:
    """Return what the daemon says: of what the caller got wrong it names the key."""
    if 400 <= status < 500 and "key" in document:
        return ConfigError(document["key"], document.get("problem", ""), document.get("fix", ""))
    return DaemonError(document["error"], status)


@contextlib.contextmanager
def _told(path: Path | Remote) -> Iterator[None]:
    """Say in our words what went wrong between the command and the daemon."""
    try:
        yield
    except UnicodeEncodeError:
        raise ConfigError("argument", "is not text in UTF-8", "type the name as `xdplb status` shows it") from None
    except XdplbError:
        raise
    except PermissionError:
        raise DaemonError(f"no permission for {path}; use `sudo`, or get a role in [admin]") from None
    except ssl.SSLError as error:
        raise DaemonError(f"{path}: {_tls_words(error)}") from None
    except (BrokenPipeError, ConnectionResetError):  # http.client.RemoteDisconnected is one
        fix = "is it going on (`xdplb status`), and has your user a role in [admin]?"
        if isinstance(path, Remote):
            fix = "our certificate was not taken (see --cert), or it has ended"
        raise DaemonError(f"the daemon at {path} closed the connection; {fix}") from None
    except (socket.gaierror, TimeoutError) as error:
        raise DaemonError(f"{path} cannot be reached ({error.strerror or error or 'no answer'})") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoDaemonError(
            f"no daemon answers at {path}; start it with `xdplb run CONFIG`, or see `systemctl status xdplb`"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DaemonError(f"the daemon at {path} did not answer ({error or type(error).__name__})") from None


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good for it: {error.verify_message}; see --ca"
    if "CERTIFICATE" in (error.reason or "") or "UNKNOWN_CA" in (error.reason or ""):
        return f"our certificate was not taken ({error.reason}); see --cert"
    return f"TLS failed ({error.reason or error})"


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
