"""Contexts of TLS are made once, and its errors are told in plain words."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.rig.servers import Authority
from xdplb.health.certificate import Certificate
from xdplb.health.kinds import Tls
from xdplb.health.secure import Verdict, context_for, meaning, unverified

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
FOUND = Certificate(("a.example",), "Somebody", NOW - DAY, NOW + DAY)


def test_a_context_is_made_once_for_each_way_to_verify_and_each_offer(authority: Authority) -> None:
    ways = [Tls(), Tls("a", verify=True), Tls("a", verify=True, ca_file=authority.file)]
    contexts = [context_for(way, alpn) for way in ways for alpn in ((), ("h2",))]
    assert len(set(contexts)) == len(contexts)
    assert context_for(Tls("b", verify=True), ("h2",)) is contexts[3]


def error(code: int) -> ssl.SSLCertVerificationError:
    found = ssl.SSLCertVerificationError(1, "no")
    found.verify_code, found.verify_message = code, "OpenSSL says no"
    return found


@pytest.mark.parametrize(
    ("code", "found", "words"),
    [
        (Verdict.EXPIRED, replace(FOUND, ends=NOW - DAY), f"of a.example expired on {(NOW - DAY).date()}"),
        (Verdict.EXPIRED, FOUND, "a certificate above that of a.example has expired"),
        (Verdict.NOT_YET_VALID, replace(FOUND, begins=NOW + DAY), f"of a.example begins on {(NOW + DAY).date()} only"),
        (Verdict.NOT_YET_VALID, FOUND, "a certificate above that of a.example does not begin yet"),
        (Verdict.SELF_SIGNED, FOUND, "the certificate of a.example is self-signed"),
        (Verdict.SELF_SIGNED_AUTHORITY, FOUND, "is signed by Somebody: not known here"),
        (Verdict.NO_ISSUER, FOUND, "is signed by Somebody: not known here"),
        (Verdict.NO_ISSUER_OF_LEAF, FOUND, "is signed by Somebody: not known here"),
        (Verdict.OTHER_NAME, FOUND, "the certificate is for a.example, not for b.example"),
        (Verdict.OTHER_ADDRESS, FOUND, "the certificate is for a.example, not for b.example"),
        (26, FOUND, "the certificate of a.example is not good: OpenSSL says no"),
        (26, None, "the certificate is not good: OpenSSL says no"),
    ],
)
def test_why_a_certificate_is_not_good(code: int, found: Certificate | None, words: str) -> None:
    assert unverified(error(code), Tls("b.example"), found).endswith(words)


def test_an_error_that_is_not_known_keeps_its_own_words() -> None:
    strange = ssl.SSLError(1, "x")
    strange.reason = "BAD_SOMETHING"
    assert meaning(strange) == "TLS failed: bad something"
