"""The `tls` check: a handshake, and a certificate that is good for the name."""

from __future__ import annotations

from xdplb.health.check import ProbeEnded
from xdplb.health.connection import SecureConnection, open_connection
from xdplb.health.probe import Steps, Target
from xdplb.model import Check


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Shake hands, reset."""
    async with open_connection(check, target, steps) as connection:
        assert isinstance(connection, SecureConnection)
        await connection.flush()  # or the server would think that we gave up in the middle
        return ProbeEnded(True, f"tls {target}: {connection.version} in {steps.took_ms:.1f} ms", connection.warning)
