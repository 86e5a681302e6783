"""One try: can a TCP connection be made to this backend? Foreign errors become one phrase here."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct

from xdplb.health.check import ProbeEnded
from xdplb.model import Address

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: no TIME_WAIT left behind on either side


async def probe_tcp(address: Address, port: int, timeout_s: float) -> ProbeEnded:
    """Connect and close; return whether it worked within the timeout, and what happened."""
    loop = asyncio.get_running_loop()
    target = f"tcp {address}:{port}" if address.version == 4 else f"tcp [{address}]:{port}"
    began = loop.time()
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        try:
            async with asyncio.timeout(timeout_s):
                await loop.sock_connect(connection, (str(address), port))
        except TimeoutError:
            return ProbeEnded(False, f"{target} did not answer within {timeout_s:g} s")
        except OSError as error:
            text = "refused" if error.errno == errno.ECONNREFUSED else os.strerror(error.errno or 0).lower()
            return ProbeEnded(False, f"{target} {text}")
    return ProbeEnded(True, f"{target} connected in {(loop.time() - began) * 1e3:.1f} ms")
