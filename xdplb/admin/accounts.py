"""What a proxy reports of its backends, from the body of a request. Pure: what is wrong is refused as a whole."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from xdplb.desired import Key
from xdplb.errors import ConfigError
from xdplb.health.outlier import Account

_FIELDS = {"service", "backend", "ok", "failed", "latency_s"}
LARGEST = 1e12


def parse_accounts(document: Any, known: Container[Key]) -> tuple[list[Account], list[Key]]:
    """Return the accounts of backends that are known, and the others' keys. Raises ConfigError."""
    entries = document if isinstance(document, list) else [document]
    accounts = [_account(f"[{number}]" if entries is document else "body", one) for number, one in enumerate(entries)]
    unknown = [account.key for account in accounts if account.key not in known]
    return [account for account in accounts if account.key in known], unknown


def _account(where: str, entry: Any) -> Account:
    fix = 'send {"service": "web", "backend": "b1", "ok": 12, "failed": 1, "latency_s": 0.4}'
    if not isinstance(entry, dict):
        raise ConfigError(where, f"{entry!r} is no JSON object", fix)
    for name in entry:
        if name not in _FIELDS:
            raise ConfigError(f"{where}.{name}", "is not known", fix)
    key = (_text(where, "service", entry), _text(where, "backend", entry))
    ok, failed = (int(_number(where, name, entry.get(name, 0), whole=True)) for name in ("ok", "failed"))
    return Account(key, ok, failed, _number(where, "latency_s", entry.get("latency_s", 0.0)))


def _text(where: str, name: str, entry: Mapping[str, Any]) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{where}.{name}", f"{value!r} is no text", f"give the {name}'s name")
    return value


def _number(where: str, name: str, value: Any, whole: bool = False) -> float:
    kinds = (int,) if whole else (int, float)
    right = isinstance(value, kinds) and not isinstance(value, bool) and 0 <= value <= LARGEST
    if not right:
        kind = "whole number" if whole else "number"
        raise ConfigError(f"{where}.{name}", f"{value!r} is no {kind} from 0 on", "send what was counted")
    return float(value)
