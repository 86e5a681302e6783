"""What a certificate says, and when its end is worth a warning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509

from xdplb.health.certificate import ending, read_certificate
from xdplb.health.kinds import Tls

ENDS = datetime(2030, 5, 1, 12, tzinfo=UTC)


def der_of(leaf: trustme.LeafCert) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def der() -> bytes:
    names = ("a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "c.example", "d.example")
    return der_of(trustme.CA().issue_cert(*names, not_before=ENDS - timedelta(days=10), not_after=ENDS))


def test_a_certificate_tells_names_signer_and_dates(der: bytes) -> None:
    found = read_certificate(der)
    assert found.names == ("a.example", "*.b.example", "c.example", "d.example", "192.0.2.1", "2001:db8::1")
    assert found.shown_names == "a.example, *.b.example, c.example, d.example and 2 more"
    assert "Testing CA" in found.issuer
    assert (found.begins, found.ends) == (ENDS - timedelta(days=10), ENDS)


def test_without_alternative_names_it_is_its_subjects() -> None:
    ca = x509.load_pem_x509_certificate(trustme.CA(organization_name="Us").cert_pem.bytes())
    from cryptography.hazmat.primitives.serialization import Encoding

    assert "O=Us" in read_certificate(ca.public_bytes(Encoding.DER)).names[0]


@pytest.mark.parametrize(
    ("before", "expiry_days", "warning"),
    [
        (timedelta(days=14, seconds=1), 14, ""),
        (timedelta(days=14), 14, "certificate of a.example ends on 2030-05-01, in 14 days"),
        (timedelta(hours=36), 14, "certificate of a.example ends on 2030-05-01, in 1 day"),
        (timedelta(hours=1), 14, "certificate of a.example ends on 2030-05-01, in 0 days"),
        (timedelta(hours=1), 0, ""),
        (timedelta(days=-3), 0, "certificate of a.example ended on 2030-05-01, 3 days ago"),
    ],
)
def test_its_end_is_a_warning_when_it_is_near(der: bytes, before: timedelta, expiry_days: float, warning: str) -> None:
    assert ending(der, Tls(expiry_days=expiry_days), ENDS - before) == warning


def test_the_name_in_a_warning_is_the_one_that_was_asked_for(der: bytes) -> None:
    assert ending(der, Tls("x.b.example"), ENDS).startswith("certificate of x.b.example ends")


def test_what_cannot_be_read_is_a_warning() -> None:
    assert ending(b"nonsense", Tls(), ENDS).startswith("the certificate cannot be read: ")


def test_whatever_a_library_does_not_know_is_a_wrong_value(der: bytes) -> None:
    begin = b"\xa0\x03\x02\x01"  # the version, one less than its number
    with pytest.raises(ValueError, match="InvalidVersion"):  # which itself is no ValueError
        read_certificate(der.replace(begin + b"\x02", begin + b"\x07", 1))
