"""What is said of a reason is what its documentation says, and there is one for each."""

from __future__ import annotations

import re
from pathlib import Path

from xdplb.contract import BPF_DIR
from xdplb.reasons import REASONS

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_reasons_are_those_of_the_program() -> None:
    struct = re.search(r"struct verdicts \{(.*?)\};", (BPF_DIR / "maps.h").read_text(), re.S)
    assert struct
    assert list(REASONS) == re.findall(r"__u64 (\w+);", struct[1])


def test_reasons_mean_what_the_documentation_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", (DOCS / "reasons.md").read_text(), re.M)
    assert {name: (meaning, fix) for name, meaning, fix in rows} == REASONS
