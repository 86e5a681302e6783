"""When a certificate ends, and what is said of it before. Pure: the time comes as an argument."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509


def ends(der: bytes) -> datetime:
    """Return when a certificate (DER) ends, with its zone. Raises ValueError when it cannot be read."""
    return x509.load_der_x509_certificate(der).not_valid_after_utc


def warning(name: str, not_after: datetime, now: datetime, expiry_days: float) -> str:
    """Return what should be mended about a certificate that has ended or ends soon, else ""."""
    days = (not_after - now).total_seconds() / 86400
    when = not_after.astimezone(UTC).date().isoformat()
    if days < 0:
        return f"certificate of {name} ended on {when}, {_days(-days)} ago"
    if days <= expiry_days:
        return f"certificate of {name} ends on {when}, in {_days(days)}"
    return ""


def _days(number: float) -> str:
    return "1 day" if int(number) == 1 else f"{int(number)} days"
