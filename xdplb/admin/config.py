"""The API of the configuration in force: what it is, what another would do, take another up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from xdplb.admin.answers import CALLER, DAEMON, answer, read_body
from xdplb.admin.schemas import RUNNING
from xdplb.admin.shapes import TEXT, body, many, operation, ref
from xdplb.daemon import Daemon
from xdplb.errors import ConfigError
from xdplb.guard import read_lists
from xdplb.model import Config, Role
from xdplb.reload import Taken
from xdplb.values import within

CONFIRM_S = (1.0, 86400.0)
MEASURE_S = (0.0, 10.0)


async def _plan(request: web.Request) -> web.Response:
    daemon, body = request.app[DAEMON], await _read(request, "config", "path", "measure_s")
    config, measure_s = _config(daemon, body), _number(body, "measure_s", *MEASURE_S) or 0.0
    folder = (_path(body) or daemon.path).parent
    overrides = daemon.kept.overrides
    _refuse_files(request, config, folder)
    lists = await asyncio.to_thread(read_lists, config.guard, overrides.prefixes, folder)
    return answer(await daemon.plan(config, overrides, measure_s, lists))


def _refuse_files(request: web.Request, config: Config, folder: Path) -> None:
    """Let only an admin name files that the daemon does not read anyway: it reads them as root. Raises ConfigError."""
    daemon = request.app[DAEMON]
    known = [daemon.path.parent / (name or "") for name in _files(daemon.config)]
    for key, name in zip(("block_file", "allow_file"), _files(config), strict=True):
        if name and folder / name not in known and not request[CALLER].may(Role.ADMIN):
            fix = "the role admin may plan with other files than those in force"
            raise ConfigError(f"guard.{key}", f"{name!r} is not what the daemon reads", fix)


def _files(config: Config) -> tuple[str | None, str | None]:
    return config.guard.block_file, config.guard.allow_file


async def _apply(request: web.Request) -> web.Response:
    daemon, body = request.app[DAEMON], await _read(request, "config", "path", "confirm_s", "allow_down")
    text, allowed = _text(body), body.get("allow_down", [])
    if not isinstance(allowed, list) or not all(isinstance(name, str) for name in allowed):
        raise ConfigError("allow_down", f"{allowed!r} is no list of text", "name services, or leave it out")
    confirm_s = _number(body, "confirm_s", *CONFIRM_S)
    return _taken(daemon, await daemon.running.apply(text, _path(body), confirm_s, _allowed(daemon, text, allowed)))


async def _reload(request: web.Request) -> web.Response:
    daemon = request.app[DAEMON]
    return _taken(daemon, await daemon.running.reload())


async def _show(request: web.Request) -> web.Response:
    return answer(request.app[DAEMON].running.document())


def _taken(daemon: Daemon, taken: Taken) -> web.Response:
    """Say what came of it, as measured."""
    document = daemon.running.document()
    state = {name: document[name] for name in ("path", "applied_from", "revision", "unconfirmed", "changes")}
    return answer({**asdict(taken), **state, "warnings": daemon.warnings()})


# --- what requests say ----------------------------------------------------------------------------------------


async def _read(request: web.Request, *known: str) -> dict[str, Any]:
    body = await read_body(request)
    if unknown := sorted(set(body) - set(known)):
        raise ConfigError(unknown[0], "unknown key", f"known here: {', '.join(known)}")
    return body


def _text(body: Mapping[str, Any]) -> str:
    text = body.get("config")
    if not isinstance(text, str):
        raise ConfigError("config", f"{text!r} is no text", "give the text of a configuration file")
    return text


def _config(daemon: Daemon, body: Mapping[str, Any]) -> Config:
    return daemon.running.parse(_text(body))


def _path(body: Mapping[str, Any]) -> Path | None:
    """Return from where the text is: files of its lists are sought beside."""
    path = body.get("path")
    if path is None:
        return None
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise ConfigError("path", f"{path!r} is no absolute path", "give that of the file, or leave it out")
    return Path(path)


def _number(body: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(name, f"{value!r} is no number", f"give {least:g} to {most:g}")
    return within(name, float(value), least, most)


def _allowed(daemon: Daemon, text: str, names: list[str]) -> set[str]:
    """Return the services that may be left without anybody; `*`: all of them."""
    there = {service.name for service in daemon.running.parse(text).services}
    for name in names:
        if name != "*" and name not in there:
            raise ConfigError("allow_down", f"there is no service {name!r}", f"give one of: {', '.join(sorted(there))}")
    return there if "*" in names else set(names)


ROUTES: list[web.RouteDef] = [
    web.post("/v1/plan", _plan),
    web.post("/v1/apply", _apply),
    web.post("/v1/reload", _reload),
    web.get("/v1/config", _show),
]

# --- the document of the API ----------------------------------------------------------------------------------

_CONFIRM = {"type": "number", "minimum": CONFIRM_S[0], "maximum": CONFIRM_S[1]}
_MEASURE = {"type": "number", "minimum": MEASURE_S[0], "maximum": MEASURE_S[1]}
_PATH = {"type": "string", "pattern": "^/[^\\u0000]*$"}

PATHS: dict[str, Any] = {
    "/v1/plan": {
        "post": operation(
            "what another configuration would change; nothing is changed",
            ref("Plan"),
            body=body({"path": _PATH, "measure_s": _MEASURE}, config=TEXT),
            role="read",
        )
    },
    "/v1/apply": {
        "post": operation(
            "take up a configuration, for good or until it is confirmed",
            ref("Taken"),
            body=body({"path": _PATH, "confirm_s": _CONFIRM, "allow_down": many(TEXT)}, config=TEXT),
            role="admin",
        )
    },
    "/v1/reload": {"post": operation("take up the daemon's own file", ref("Taken"), role="admin")},
    # Its text may hold the secret of the hash.
    "/v1/config": {"get": operation("the configuration in force, with run-time changes", RUNNING, role="admin")},
}
