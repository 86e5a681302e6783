"""A certificate's end is read, and told in time."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from xdplb.health.certificates import ends, warning

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_the_end_is_what_the_certificate_says() -> None:
    not_after = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    issued = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("a.example", not_after=not_after)
    assert ends(ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())) == not_after


def test_what_is_no_certificate_is_an_error_of_its_own() -> None:
    with pytest.raises(ValueError, match="asn1"):
        ends(b"0\x03abc")


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(days=15), ""),
        (timedelta(days=13, hours=1), "certificate of a.example ends on 2026-02-13, in 13 days"),
        (timedelta(days=1, hours=1), "certificate of a.example ends on 2026-02-01, in 1 day"),
        (timedelta(days=-3), "certificate of a.example ended on 2026-01-28, 3 days ago"),
    ],
)
def test_a_warning_comes_within_the_days_that_are_wanted(left: timedelta, said: str) -> None:
    assert warning("a.example", NOW + left, NOW, 14) == said
