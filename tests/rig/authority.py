"""Who signs certificates of the admin API, and the files and options with them."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import trustme


class Authority:
    """Who signs, and the files that the daemon is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, trustme.CA()
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        self.write()

    def write(self) -> None:
        """Give the daemon a new certificate."""
        own = self.ca.issue_cert("127.0.0.1")
        own.cert_chain_pems[0].write_to_path(self.folder / "new.pem")
        own.private_key_pem.write_to_path(self.folder / "new.key")
        for kind in ("key", "pem"):
            shutil.move(self.folder / f"new.{kind}", self.folder / f"daemon.{kind}")

    def context(self, name: str | None, ca: trustme.CA | None = None) -> ssl.SSLContext:
        """What a client of this name connects with."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if name:
            (ca or self.ca).issue_cert(name).configure_cert(context)
        return context

    def client(self, name: str) -> list[str]:
        """Options of a command that is this one's."""
        own = self.ca.issue_cert(name)
        own.cert_chain_pems[0].write_to_path(self.folder / f"{name}.pem")
        own.private_key_pem.write_to_path(self.folder / f"{name}.key")
        files = {"cert": f"{name}.pem", "key": f"{name}.key", "ca": "ca.pem"}
        return [part for option, file in files.items() for part in (f"--{option}", str(self.folder / file))]

    def table(self, port: int) -> str:
        """The `[admin]` table."""
        files = {"certificate": "daemon.pem", "key": "daemon.key", "client_ca": "ca.pem"}
        lines = [f'{key} = "{self.folder / name}"' for key, name in files.items()]
        roles = '{ "boss.example" = "admin", "ops.example" = "operate", "watch.example" = "read" }'
        return "\n".join(["[admin]", f'listen = "127.0.0.1:{port}"', *lines, f"certificates = {roles}"])
