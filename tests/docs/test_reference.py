"""The reference names every key, command, reason and field there is, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from xdplb.admin_config import AdminTable
from xdplb.check_config import CheckTable
from xdplb.cli.main import cli
from xdplb.config import (
    BackendTable,
    BalancerTable,
    GuardTable,
    LimitsTable,
    MetricsTable,
    ServiceTable,
    parse_config,
)
from xdplb.model import State

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("`[balancer]`", BalancerTable),
        ("`[[service]]`", ServiceTable),
        ("`backends` of a service", BackendTable),
        ("`check` of a service", CheckTable),
        ("`limits` of a service", LimitsTable),
        ("`[guard]`", GuardTable),
        ("`[admin]`", AdminTable),
        ("`[metrics]`", MetricsTable),
    ],
)
def test_every_configuration_key_is_documented(heading: str, struct: type) -> None:
    section = (DOCS / "config.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.M)
    assert set(documented) == set(struct.__struct_fields__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("document", ["docs/config.md", "README.md"])
def test_configurations_in_the_docs_are_valid(document: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / document).read_text(), re.S)
    assert blocks
    for block in blocks:
        parse_config(block)


def commands(group: click.Group, prefix: str) -> list[str]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        found += commands(command, f"{prefix} {name}") if isinstance(command, click.Group) else [f"{prefix} {name}"]
    return found


def options(group: click.Group, path: list[str]) -> set[str]:
    command: click.Command = group
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or command
    return {o for p in command.params if isinstance(p, click.Option) for o in p.opts if o.startswith("--")}


def test_every_command_and_option_is_documented() -> None:
    rows = re.findall(r"^\| `(xdplb [^`]+)` \|", (DOCS / "commands.md").read_text(), re.M)
    there = commands(cli, "xdplb")
    documented = {}
    for row in rows:
        name = max((c for c in there if row.startswith(c)), key=len)
        documented[name] = set(re.findall(r"--[\w-]+", row))
    assert set(documented) == set(there)
    for name, named in documented.items():
        assert named == options(cli, name.split()[1:]) - {"--help"}, name


def test_every_reason_is_documented() -> None:
    struct = re.search(r"struct verdicts \{(.*?)\};", (ROOT / "bpf/maps.h").read_text(), re.S)
    assert struct
    reasons = re.findall(r"__u64 (\w+);", struct[1])
    assert re.findall(r"^\| `(\w+)` \|", (DOCS / "reasons.md").read_text(), re.M) == reasons


def test_every_state_is_documented() -> None:
    text = (DOCS / "api.md").read_text()
    assert all(f"`{state}`" in text for state in State)


def test_links_lead_somewhere() -> None:
    broken = [
        f"{path.name}: {target}"
        for path in [*DOCS.glob("*.md"), *ROOT.glob("*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert not broken
