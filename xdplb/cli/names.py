"""Live names for completion: asked from the daemon, quickly or not at all, since somebody is typing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

ASK_S = 0.3

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]
Names = Iterator[tuple[str, str]]  # each with a word about it


def _live(find: Callable[[dict[str, Any], click.Context], Names]) -> Complete:
    """Make a completion of a function that finds names in the status document; without a daemon there are none."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        document = _status(ctx)
        found = dict(find(document, ctx)) if document else {}
        return [CompletionItem(name, help=about) for name, about in found.items() if name.startswith(incomplete)]

    return complete


def _status(ctx: click.Context) -> dict[str, Any] | None:
    from xdplb.admin.client import Client
    from xdplb.cli.main import target_of
    from xdplb.errors import XdplbError

    try:
        return Client(target_of(**ctx.find_root().params).socket, ASK_S).status()
    except XdplbError:
        return None


@_live
def services(document: dict[str, Any], ctx: click.Context) -> Names:
    """Complete the name of a service."""
    for service in document["services"]:
        yield service["name"], ", ".join(service["vips"])


@_live
def backends(document: dict[str, Any], ctx: click.Context) -> Names:
    """Complete the name of a backend, of the service that is typed, if one is."""
    return _backends(document, ctx)


@_live
def leaving(document: dict[str, Any], ctx: click.Context) -> Names:
    """Complete the name of a backend that is draining."""
    return _backends(document, ctx, "draining")


@_live
def reasons(document: dict[str, Any], ctx: click.Context) -> Names:
    """Complete a reason why packets are not forwarded."""
    for reason, number in document["verdicts"].items():
        yield reason, f"{number:,} packets"


def _backends(document: dict[str, Any], ctx: click.Context, state: str | None = None) -> Names:
    wanted = ctx.params.get("service")
    for service in document["services"]:
        for backend in service["backends"] if wanted in (None, service["name"]) else []:
            if state in (None, backend["state"]):
                yield backend["name"], f"{service['name']}, {backend['state']}"


def interfaces(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of an interface of this machine."""
    import socket

    return [CompletionItem(name) for _, name in socket.if_nameindex() if name.startswith(incomplete)]


def balancers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of a balancer that runs here."""
    try:
        sockets = [path.parent.name for path in Path("/run/xdplb").glob("*/admin.sock")]
    except OSError:
        return []
    return [CompletionItem(name) for name in sorted(sockets) if name.startswith(incomplete)]
