"""TLS of probes without a socket: the contexts, and what their errors mean in plain words."""

from __future__ import annotations

import functools
import os
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum

from xdplb.health.certificate import Certificate, day
from xdplb.health.kinds import Tls
from xdplb.health.probe import ProbeFailed

_REASONS = {  # of ssl.SSLError
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
    "HTTP_REQUEST": "the server does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "the server does not speak TLS",
    "RECORD_LAYER_FAILURE": "the server does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "the server speaks only versions of TLS that are too old",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server and we have no version of TLS in common",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server and we have nothing of TLS in common",
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know the name that was asked for",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the server speaks none of the protocols that were offered (ALPN)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate of the client",
}


class Verdict(IntEnum):
    """`verify_code` of ssl.SSLCertVerificationError: X509_V_ERR_* of OpenSSL's x509_vfy.h."""

    NOT_YET_VALID = 9
    EXPIRED = 10
    SELF_SIGNED = 18
    SELF_SIGNED_AUTHORITY = 19
    NO_ISSUER = 20
    NO_ISSUER_OF_LEAF = 21
    OTHER_NAME = 62
    OTHER_ADDRESS = 64


def context_for(tls: Tls, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """Return the context for connections of a kind. Raises ProbeFailed when `ca_file` is no use."""
    if tls.ca_file is None:
        return _make(tls.verify, tls.name is not None, None, 0, tuple(alpn))
    try:
        changed = os.stat(tls.ca_file).st_mtime_ns  # a file that was replaced is read again
        return _make(tls.verify, tls.name is not None, tls.ca_file, changed, tuple(alpn))
    except ssl.SSLError:
        raise ProbeFailed(f"ca_file {tls.ca_file} holds no certificates (PEM)") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ProbeFailed(f"ca_file {tls.ca_file} cannot be read: {why}") from None


@functools.lru_cache(maxsize=64)  # making one reads all the system's authorities: 10 ms and more
def _make(verify: bool, named: bool, ca_file: str | None, changed: int, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verify and named
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    elif verify:
        context.load_default_certs()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def meaning(error: ssl.SSLError) -> str:
    """Return what an error of TLS means, but for certificates that could not be verified."""
    text = re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$", "", str(error.args[-1]))
    reason = error.reason or text.upper().replace(" ", "_")  # Python has no names for what is newer than itself
    return _REASONS.get(reason) or f"TLS failed: {reason.lower().replace('_', ' ')}"


def unverified(error: ssl.SSLCertVerificationError, tls: Tls, found: Certificate | None) -> str:
    """Return why a certificate is not good for what was asked; `found` is the server's own one, if it could be read."""
    if found is None:
        return f"the certificate is not good: {error.verify_message}"
    match error.verify_code:
        case Verdict.NOT_YET_VALID | Verdict.EXPIRED:
            return _when(error.verify_code, found)
        case Verdict.SELF_SIGNED:
            return f"the certificate of {found.shown_names} is self-signed"
        case Verdict.SELF_SIGNED_AUTHORITY | Verdict.NO_ISSUER | Verdict.NO_ISSUER_OF_LEAF:
            return f"the certificate of {found.shown_names} is signed by {found.issuer}: not known here"
        case Verdict.OTHER_NAME | Verdict.OTHER_ADDRESS:
            return f"the certificate is for {found.shown_names}, not for {tls.name}"
    return f"the certificate of {found.shown_names} is not good: {error.verify_message}"


def _when(code: int, found: Certificate) -> str:
    now = datetime.now(UTC)
    if code == Verdict.EXPIRED and found.ends < now:
        return f"the certificate of {found.shown_names} expired on {day(found.ends)}"
    if code == Verdict.NOT_YET_VALID and found.begins > now:
        return f"the certificate of {found.shown_names} begins on {day(found.begins)} only"
    what = "has expired" if code == Verdict.EXPIRED else "does not begin yet"
    return f"a certificate above that of {found.shown_names} {what}"
