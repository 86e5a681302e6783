"""`python -m tools.bench.compare REV` (as root): two revisions side by side, each with its own bench, turn about.

The other one is checked out below `.cache`. What has another name there, or is not there, is left out; multiples of
*floor2* are compared, not ns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Times = dict[tuple[str, str], list[float]]  # multiples by (subject, load)


def check_out(revision: str) -> Path:
    """Return a folder that holds this revision. Exits when there is none."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "--verify", f"{revision}^{{commit}}"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{revision!r} is no revision of this repository; see `git log --oneline`")
    folder = ROOT / ".cache" / f"bench-{done.stdout.strip()}"
    if not folder.is_dir():
        subprocess.run(["git", "-C", ROOT, "worktree", "prune"], check=True)
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "-q", "--detach", folder, done.stdout.strip()], check=True
        )
    return folder


def run_bench(folder: Path, report: Path, options: list[str]) -> dict[str, Any]:
    """Run the bench of the revision in this folder; return its JSON. Exits with its words when it fails."""
    argv = [sys.executable, "-m", "tools.bench", "--json", str(report), *options]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the bench in {folder} failed:\n{done.stderr or done.stdout}")
    found: dict[str, Any] = json.loads(report.read_text())["times"]
    return found


def gather(times: dict[str, Any], into: Times) -> None:
    """Add a run's multiples to those of others."""
    for subject, loads in times.items():
        for load, result in loads.items():
            into.setdefault((subject, load), []).append(result["multiple"])


def lines(revision: str, then: Times, now: Times) -> Iterator[str]:
    """Yield the table: for each subject and load, the multiple then and now, and by how much it changed."""
    yield f"{'x floor2':34}{'load':>12}{revision[:12]:>14}{'here':>10}{'change':>10}"
    for key in (key for key in now if key in then and not key[0].startswith("floor")):
        before, after = median(then[key]), median(now[key])
        yield f"{key[0]:34}{key[1]:>12}{before:14.2f}{after:10.2f}{(after / before - 1) * 100:+9.1f}%"
    if missing := sorted({subject for subject, _ in now} - {subject for subject, _ in then}):
        yield f"not there: {', '.join(missing)}"


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="tools.bench.compare", description="Two revisions side by side.")
    parser.add_argument("revision", help="a commit, tag or branch of this repository")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="runs of each, turn about (default 2)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="repetitions in each (default 5)")
    wanted = parser.parse_args()
    folder, then, now = check_out(wanted.revision), Times(), Times()
    try:
        for _ in range(wanted.rounds):
            for place, times in ((folder, then), (ROOT, now)):
                gather(run_bench(place, ROOT / ".cache" / "bench.json", ["--repeat", str(wanted.repeat)]), times)
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", folder], check=False)
    print(*lines(wanted.revision, then, now), sep="\n")


if __name__ == "__main__":
    main()
