"""What a lab has made, written down before it is made, so that whoever comes later can remove all of it.

/run/xdplb-lab/PREFIX.jsonl: only ever appended to, one fact a line. A child writes its own line (`LAUNCH`) before it
becomes its command: its parent does so too, but may be killed before.

    {"owner": [PID, STARTED]}   whose lab it is; null: a person's, who will remove it
    {"namespace": "NAME"}  {"child": [PID, STARTED]}  {"path": "/run/..."}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.lab import netns
from tools.lab.process import Process, end
from xdplb.errors import RefusedError

FOLDER = Path("/run/xdplb-lab")

# sh -c LAUNCH RECORD COMMAND...; a process began at field 22 of its stat: proc(5)
LAUNCH = f"""\
read -r pid {"_ " * 20}started _ </proc/$$/stat && [ -e "$0" ] && \
printf '{{"child": [%s, %s]}}\\n' "$pid" "$started" >>"$0" && exec "$@\""""


@dataclass(slots=True)
class Facts:
    """A record's lines, sorted."""

    owner: Process | None = None
    kept: bool = False  # by a person
    namespaces: list[str] = field(default_factory=list)
    children: list[Process] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    @property
    def owned(self) -> bool:
        """The process whose lab it is lives."""
        return self.owner is not None and self.owner.alive

    def add(self, line: dict[str, Any]) -> None:
        """Take one line."""
        for key, value in line.items():
            if key == "owner":
                self.owner, self.kept = (Process(*value), False) if value else (None, True)
            elif key == "namespace":
                self.namespaces.append(value)
            elif key == "child":
                self.children.append(Process(*value))
            elif key == "path":
                self.paths.append(Path(value))


class Record:
    """The record of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.path = FOLDER / f"{prefix}.jsonl"

    def claim(self) -> None:
        """Begin a record, after removing the leftovers of a dead owner. Raises RefusedError when the lab exists."""
        with _locked():
            if self.path.exists():
                self._remove_unless_in_use()
            self.path.touch()
            self.write(owner=Process.of(os.getpid()))

    def _remove_unless_in_use(self) -> None:
        facts = self.read()
        if facts.owner and facts.owned:
            raise RefusedError(f"the lab {self.prefix} exists and belongs to process {facts.owner.pid}")
        if facts.kept:
            raise RefusedError(f"the lab {self.prefix} exists (`python -m tools.lab down` removes it)")
        self.remove()

    def write(self, **line: object) -> None:
        """Append one line, in one piece."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, f"{json.dumps(line)}\n".encode())
        finally:
            os.close(fd)

    def read(self) -> Facts:
        """Return what is written. Raises RefusedError when there is no such lab."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            raise RefusedError(f"there is no lab {self.prefix} (`python -m tools.lab up` makes one)") from None
        facts = Facts()
        for line in text.splitlines():
            facts.add(json.loads(line))
        return facts

    def end_children(self) -> None:
        """End what runs in the lab."""
        end(self.read().children)

    def remove(self) -> None:
        """Remove all that is written, the record last: interrupted, it can be done again."""
        facts = self.read()
        end(facts.children)
        for name in facts.namespaces:
            netns.remove(name)
        for path in facts.paths:
            _remove_path(path)
        self.path.unlink(missing_ok=True)


def _remove_path(path: Path) -> None:
    """Remove a file or folder, and the folder it lies in when that is empty then."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def sweep() -> list[str]:
    """Remove every lab whose owner is dead; returns their prefixes."""
    swept = []
    with _locked():
        for path in sorted(FOLDER.glob("*.jsonl")):
            record = Record(path.stem)
            facts = record.read()
            if not facts.owned and not facts.kept:
                record.remove()
                swept.append(record.prefix)
    return swept


def take_down(prefix: str) -> None:
    """Remove a lab that a person keeps, or a dead process left. Raises RefusedError."""
    with _locked():
        facts = Record(prefix).read()
        if facts.owner and facts.owned:
            raise RefusedError(f"the lab {prefix} belongs to process {facts.owner.pid}: end that")
        Record(prefix).remove()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let one process at a time decide whose a record is; the kernel frees the lock of one that dies."""
    FOLDER.mkdir(exist_ok=True)
    folder = os.open(FOLDER, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
