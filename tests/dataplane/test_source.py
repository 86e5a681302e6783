"""One text for BCC, with marks that lead back to the files."""

from __future__ import annotations

import re
from pathlib import Path

from xdplb.dataplane.source import BPF_DIR, fingerprint, join


def test_each_header_is_expanded_once_at_its_first_mention(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('#include "x.h"\n#include "y.h"\n#include <z.h>\nint a;\n')
    (tmp_path / "x.h").write_text("#pragma once\nint x;\n")
    (tmp_path / "y.h").write_text('#pragma once\n#include "x.h"\nint y;\n')

    text = join(tmp_path / "a.c")

    assert [line for line in text.splitlines() if line and not line.startswith("#line")] == [
        "int x;",
        "int y;",
        "#include <z.h>",
        "int a;",
    ]


def test_line_marks_name_the_right_file_and_line() -> None:
    file, number = "", 0
    wrong = []
    for line in join(BPF_DIR / "balancer.c").splitlines():
        if mark := re.match(r'#line (\d+) "(.+)"', line):
            number, file = int(mark[1]), mark[2]
            continue
        original = (BPF_DIR / file).read_text().splitlines()[number - 1]
        if line and line != original:
            wrong.append((file, number, line))
        number += 1
    assert not wrong


def test_fingerprint_follows_text_and_constants() -> None:
    assert fingerprint("a", {"X": 1, "Y": 2}) == fingerprint("a", {"Y": 2, "X": 1})
    assert len({fingerprint("a", {}), fingerprint("b", {}), fingerprint("a", {"X": 1})}) == 3
