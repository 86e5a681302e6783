"""What a server's certificate says: for whom it is, who signed it, until when. Pure: the time comes as an argument."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from xdplb.health.kinds import Tls

SHOWN_NAMES = 4  # of a certificate with many


@dataclass(frozen=True, slots=True)
class Certificate:
    """What people ask about a certificate."""

    names: tuple[str, ...]  # that it is for; without any, its subject's
    issuer: str
    begins: datetime
    ends: datetime

    @property
    def shown_names(self) -> str:
        """Its names for people: a few of them."""
        more = len(self.names) - SHOWN_NAMES
        return ", ".join(self.names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


@functools.lru_cache(maxsize=4096)  # every probe of a backend sees the same one
def read_certificate(der: bytes) -> Certificate:
    """Read a certificate (DER). Raises ValueError, for what OpenSSL may still take."""
    try:
        return _read(der)
    except (ValueError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what cryptography does not know, and its Rust's panics, which are no Exception
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _read(der: bytes) -> Certificate:
    found = x509.load_der_x509_certificate(der)
    return Certificate(
        _alternative_names(found) or (_shown(found.subject),),
        _shown(found.issuer),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
    )


def _alternative_names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def _shown(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string() or "nobody"


def ending(der: bytes, tls: Tls, now: datetime) -> str:
    """Return a warning when a certificate has ended or ends soon, else ""; `now` has a zone."""
    try:
        certificate = read_certificate(der)
    except ValueError as error:
        return f"the certificate cannot be read: {error}"
    days = (certificate.ends - now).total_seconds() / 86400
    name = tls.name or certificate.names[0]
    if days < 0:
        return f"certificate of {name} ended on {day(certificate.ends)}, {_days(-days)} ago"
    if days <= tls.expiry_days:
        return f"certificate of {name} ends on {day(certificate.ends)}, in {_days(days)}"
    return ""


def day(when: datetime) -> str:
    """Return a date as it is written everywhere here (ISO 8601, UTC)."""
    return when.astimezone(UTC).date().isoformat()


def _days(number: float) -> str:
    return "1 day" if int(number) == 1 else f"{int(number)} days"
