"""What operators may change at run time: each change is checked, then made to the overrides. Pure.

A change that is refused has changed nothing; ConfigError says why and what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from xdplb.desired import Key, Overrides
from xdplb.errors import ConflictError, MissingError
from xdplb.model import MAX_WEIGHT, Backend, Config, Forward, Service
from xdplb.values import within


def add_backend(config: Config, overrides: Overrides, service_name: str, backend: Backend) -> None:
    """Add a backend to a service, or keep it that is being removed. Raises ConfigError."""
    service, key = overrides.apply(find_service(config, service_name)), (service_name, backend.name)
    if service.forward is Forward.LOCAL:
        raise ConflictError("service", f"{service_name!r} is served by this host itself", "choose another service")
    there = next((b for b in service.backends if b.name == backend.name), None)
    if there and there.address == backend.address and key in overrides.removing:
        _undrain(overrides, [key])
        _weigh(config, overrides, key, backend.weight)
        return
    for other in service.backends:
        if other.name == backend.name:
            fix = f"remove it at once (`xdplb backend remove {other.name} --now`), or choose another"
            fix = fix if key in overrides.removing else "choose another"
            raise ConflictError("name", f"service {service_name!r} has a backend {other.name!r}", fix)
        if other.address == backend.address:
            raise ConflictError("address", f"{other.address} is backend {other.name!r} already", "choose another")
    if any(backend.address in vip.network for other in config.services for vip in other.vips):
        raise ConflictError("address", f"{backend.address} is a VIP", "give the backend's own address")
    overrides.removed.discard(key)
    in_file = find_service(config, service_name).backends
    if backend not in in_file:
        if any(b.name == backend.name for b in in_file):  # the file's one stays removed; this one replaces it
            overrides.removed.add(key)
        overrides.added.setdefault(service_name, []).append(backend)


def put_backend(config: Config, overrides: Overrides, service_name: str, backend: Backend) -> None:
    """Have a service this backend with this weight; when it has it already, nothing changes. Raises ConfigError."""
    key = service_name, backend.name
    service = overrides.apply(find_service(config, service_name))
    if key not in overrides.removing and any(
        (b.name, b.address) == (backend.name, backend.address) for b in service.backends
    ):
        _weigh(config, overrides, key, backend.weight)
    else:
        add_backend(config, overrides, service_name, backend)


def remove_backend(
    config: Config, overrides: Overrides, name: str, service: str | None, at: float | None = None
) -> list[Key]:
    """Remove a backend from every service that has it, or from one; return from which. Raises ConfigError.

    At once, or with a time when its flows are gone, then at the latest; until then it drains.
    """
    found = find_backend(config, overrides, name, service)
    if at is None:
        drop_backends(config, overrides, found)
    else:
        overrides.draining.update(found)
        overrides.removing |= dict.fromkeys(found, at)
    return found


def drop_backends(config: Config, overrides: Overrides, keys: Iterable[Key]) -> None:
    """Take backends off, and with them all that was said of them; those that the file has not any more, too."""
    in_file = {(service.name, b.name) for service in config.services for b in service.backends}
    for key in list(keys):
        service, name = key
        kept = [b for b in overrides.added.pop(service, []) if b.name != name]
        if kept:
            overrides.added[service] = kept
        if key in in_file:
            overrides.removed.add(key)
        overrides.weights.pop(key, None)
        _undrain(overrides, [key])


def drain_backend(
    config: Config, overrides: Overrides, name: str, service: str | None, until: float | None = None
) -> list[Key]:
    """Drain a backend in every service that has it, or in one, with a deadline or without. Raises ConfigError."""
    found = find_backend(config, overrides, name, service)
    if any(key in overrides.removing for key in found):
        fix = f"it drains already; `xdplb backend undrain {name}` keeps it"
        raise ConflictError("backend", f"{name!r} is being removed", fix)
    overrides.draining.update(found)
    for key in found:
        overrides.deadlines.pop(key, None)
        if until is not None:
            overrides.deadlines[key] = until
    return found


def undrain_backend(config: Config, overrides: Overrides, name: str, service: str | None) -> list[Key]:
    """Take a drain back, with its deadline, and a removal that is not over. Raises ConfigError."""
    found = find_backend(config, overrides, name, service)
    _undrain(overrides, found)
    return found


def _undrain(overrides: Overrides, keys: Iterable[Key]) -> None:
    for key in keys:
        overrides.draining.discard(key)
        overrides.deadlines.pop(key, None)
        overrides.removing.pop(key, None)


def forget_said(config: Config, overrides: Overrides, prefixes: Collection[str] = ()) -> Overrides:
    """Return the changes without those that the configuration says itself; `prefixes`: those of its lists.

    What is said of a service that it has not any more stays: the service may come back.
    """
    kept = overrides.copy()
    for service in config.services:
        own = {b.name: b for b in service.backends}
        said = {b.name for b in kept.added.get(service.name, ()) if own.get(b.name) == b}
        left = [b for b in kept.added.pop(service.name, ()) if b.name not in said]
        if left:
            kept.added[service.name] = left
        kept.removed -= {
            (s, name) for s, name in kept.removed if s == service.name and (name in said or name not in own)
        }
        weights = {key: w for key, w in kept.weights.items() if key[0] == service.name}
        for key, weight in weights.items():
            if key[1] not in own or own[key[1]].weight == weight:
                del kept.weights[key]
    for prefix in prefixes:
        kept.prefixes.pop(prefix, None)
    return kept if kept != overrides else overrides


def weigh_backend(config: Config, overrides: Overrides, name: str, service: str | None, weight: int) -> list[Key]:
    """Give a backend another weight in every service that has it, or in one. Raises ConfigError."""
    found = find_backend(config, overrides, name, service)
    within("weight", weight, 0, MAX_WEIGHT)
    for key in found:
        _weigh(config, overrides, key, weight)
    return found


def _weigh(config: Config, overrides: Overrides, key: Key, weight: int) -> None:
    """What the file says already is no change; one that was added keeps its weight with it."""
    service, name = key
    overrides.weights.pop(key, None)
    if any(b.name == name for b in overrides.added.get(service, [])):
        overrides.added[service] = [
            replace(b, weight=weight) if b.name == name else b for b in overrides.added[service]
        ]
    elif any(b.name == name and b.weight != weight for b in find_service(config, service).backends):
        overrides.weights[key] = weight


def find_service(config: Config, name: str) -> Service:
    """Return the configured service of this name, or raise ConfigError that lists the names."""
    for service in config.services:
        if service.name == name:
            return service
    names = ", ".join(s.name for s in config.services) or "none"
    raise MissingError("service", f"there is no service {name!r}", f"the services are: {names}")


def find_backend(config: Config, overrides: Overrides, name: str, service: str | None) -> list[Key]:
    """Return (service, name) wherever a backend of this name is, or raise ConfigError."""
    among = [find_service(config, service)] if service else config.services
    found = [(s.name, name) for s in among if any(b.name == name for b in overrides.apply(s).backends)]
    if not found:
        where = f"service {service!r}" if service else "any service"
        raise MissingError("backend", f"there is no backend {name!r} in {where}", "see `xdplb status`")
    return found
