"""A file is taken up when it has changed and stands still."""

from __future__ import annotations

import os
from pathlib import Path

from xdplb.watching import Still, sign


def test_a_change_counts_once_it_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    still = Still(sign([path]))
    assert not still.changed(sign([path]))

    path.write_text("two, half")
    assert not still.changed(sign([path]))
    path.write_text("two, and the other half")
    assert not still.changed(sign([path]))
    assert still.changed(sign([path]))
    still.take(sign([path]))
    assert not still.changed(sign([path]))


def test_another_file_in_its_place_counts_and_a_missing_one_does_not(tmp_path: Path) -> None:
    path, beside = tmp_path / "file", tmp_path / "beside"
    path.write_text("one")
    still = Still(sign([path]))
    beside.write_text("two")
    path.unlink()
    assert not any(still.changed(sign([path])) for _ in range(3))
    os.replace(beside, path)
    assert [still.changed(sign([path])) for _ in range(2)] == [False, True]
