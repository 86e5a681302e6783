"""TLS of the admin API's TCP door: 1.3 at least, both sides show certificates, replaced files are read again."""

from __future__ import annotations

import logging
import os
import ssl
from typing import Any

from xdplb.errors import ConfigError
from xdplb.logs import log_event
from xdplb.model import Admin

log = logging.getLogger("xdplb")


def make_context(admin: Admin) -> ssl.SSLContext:
    """Return what connections are accepted with. Raises ConfigError that names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # whose certificate was revoked or lost its role does not come back by an old session
    for name in ("certificate", "key", "client_ca"):
        _readable(f"admin.{name}", getattr(admin, name))
    try:
        context.load_cert_chain(admin.certificate or "", admin.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise _cannot_use(admin, error) from None
    try:
        context.load_verify_locations(admin.client_ca)
    except ssl.SSLError:
        problem = f"{admin.client_ca!r} holds no certificates in PEM"
        raise ConfigError("admin.client_ca", problem, "name the file of the authority that signs clients") from None
    return context


def _no_password() -> str:
    raise ValueError("encrypted")


def _cannot_use(admin: Admin, error: Exception) -> ConfigError:
    if "encrypted" in str(error):
        problem = f"{admin.key!r} is encrypted"
        return ConfigError("admin.key", problem, "give a key without a passphrase that only root may read")
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return ConfigError(
            "admin.key", f"{admin.key!r} is not the key of {admin.certificate!r}", "name the pair's files"
        )
    with open(admin.certificate or "") as file:
        key, path, what = "certificate", admin.certificate, "no certificate"
        if "BEGIN CERTIFICATE" in file.read():
            key, path, what = "key", admin.key, "no usable private key"
    return ConfigError(
        f"admin.{key}", f"{path!r} holds {what} in PEM", "convert it with `openssl x509` or `openssl pkey`"
    )


def _readable(key: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigError(key, f"{path!r} cannot be read: {why}", "name a file that root may read") from None


class Certificates:
    """The context for the next connection. Files that are half replaced leave the one before in use, and are told."""

    def __init__(self, admin: Admin, warnings: list[str]) -> None:
        """`warnings` takes what is wrong with them later on. Raises ConfigError when they are no use now."""
        self._seen = _versions(admin)
        self.context = make_context(admin)
        self._warnings = warnings

    def renew(self, admin: Admin) -> ssl.SSLContext:
        """Return the context for the files as they are now."""
        now = _versions(admin)
        if now != self._seen:
            self._seen = now
            try:
                self.context = make_context(admin)
                self._warnings.clear()
                log_event(log, logging.INFO, "certificates", "admin: new certificates are in use")
            except ConfigError as error:
                self._warnings[:] = [f"{error}; the ones before are still in use"]
                log_event(log, logging.ERROR, "certificates_refused", self._warnings[0])
        return self.context


def _versions(admin: Admin) -> list[Any]:
    """Return what tells a replaced file from the one before."""
    found: list[Any] = []
    for path in (admin.certificate, admin.key, admin.client_ca):
        try:
            stat = os.stat(path or "")
            found.append((path, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError as error:
            found.append((path, error.errno))
    return found
