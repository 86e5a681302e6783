"""The laws of the code, as far as a machine can see them. A failure names the law and the place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = sorted((ROOT / "xdplb").rglob("*.py"))
CODE = sorted(path for top in ("xdplb", "tools", "tests") for path in (ROOT / top).rglob("*.py"))

PURE = [
    ["__init__", "errors", "model", "hashing", "config", "desired", "ring", "tables", "reconcile", "status"],
    ["features", "prefixes", "values", "carry", "sweep", "transitions", "links", "selftest", "traps"],
    ["differences", "slots", "operators", "slow_start", "leaving", "plan", "admin/orders"],
    ["health/kinds", "health/subjects", "health/memory", "health/combine", "check_config", "serving"],
    ["health/certificate", "health/passive", "health/request"],
    ["headers", "pcapng", "traced", "sources"],
    ["health/evidence", "health/suspects", "health/outlier", "admin/accounts"],
    ["reasons", "dataplane/outcome", "explain/making", "explain/layers", "explain/reading", "explain/places"],
    ["explain/steering", "explain/world", "explain/guarding", "explain/traces", "explain/expecting", "explain/causes"],
    ["explain/story", "explain/words", "explain/question"],
    [f"doctor/{name}" for name in ("finding", "facts", "interfaces", "offloads", "cores", "host", "ways", "vips")],
    ["doctor/running", "doctor/services", "doctor/counters", "doctor/judge"],
    ["admin/shapes", "admin/schemas", "admin_config"],
    ["room", "rehearsal", "comparison", "editing"],
    ["metrics"],
    ["health/check", "tui/rates", "tui/view", "tui/keys", "dataplane/fake", "dataplane/plane"],
    ["tui/trends", "tui/order", "tui/journal", "tui/scene", "tui/render", "tui/display", "tui/player", "tui/help"],
]
IMPURE_LIBRARIES = {"asyncio", "socket", "time", "os", "random", "bcc", "pyroute2", "subprocess"}

# Law 3: where a library may be imported.
DOORS = {
    "bcc": r"xdplb/dataplane/compile\.py",
    "pyroute2": r"xdplb/(net|ethtool)\.py|tools/lab/.*|tests/.*",  # ethtool: by ioctl, for the doctor alone
    "click": r"xdplb/cli/.*|tools/.*|tests/.*",
    "rich": r"xdplb/(cli|tui)/.*|tools/capture_top\.py|tests/.*",
    "aiohttp": r"xdplb/admin/.*|tests/.*",
    "h11": r"xdplb/health/http\.py",
    "h2": r"xdplb/health/http2\.py|tests/.*",
    "regex": r"xdplb/(health/expect|check_config)\.py",
    "ssl": r"xdplb/(health/(secure|connection|quic)|admin/(certificates|client|doors))\.py|tests/.*",
    "msgspec": r"xdplb/((check|admin)_)?config\.py|tools/.*",
    "scapy": r"tests/.*|tools/.*|xdplb/cli/explain\.py",
    "tomlkit": r"xdplb/editing\.py|tests/.*",
    "dns": r"xdplb/health/dns\.py",
    "aioquic": r"xdplb/health/quic\.py|tests/.*",
}

# Law 1: imports only go down. A file may import from its own level and those below.
LEVELS = [
    {"__init__", "errors", "model", "contract", "health/kinds"},
    {"reasons"},
    {"journal", "notify", "capabilities"},
    {"logs"},
    {"hashing", "ring", "tables", "prefixes", "values", "links", "differences", "traps"} | {"headers", "pcapng"},
    {"admin_config"},
    {"check_config", "config", "desired", "serving", "health/check", "health/subjects", "selftest"},
    {"slots"} | {"traced", "sources"},
    {"reconcile", "status", "dataplane", "health", "net", "state", "sweep", "transitions", "carry"},
    {"ethtool"},
    {"room", "rehearsal", "comparison", "editing"},
    {"features", "guard", "trial", "operators", "slow_start", "leaving", "saving"},
    {"forwarding", "decap", "plan", "schedule", "tunnel"},
    {"tracing"},
    {"watching"},
    {"audit"},
    {"metrics"},
    {"upkeep", "proof", "sweeper", "events", "checks", "passive", "reporter", "evidence"},
    {"explain"},
    {"explainer"},
    {"daemon", "planning", "reload", "running", "tui"},
    {"admin"},
    {"doctor"},
    {"cli", "__main__"},
]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            is_module = [n for n in names if (ROOT / (n.replace(".", "/") + ".py")).exists()]
            yield from ((node.lineno, name) for name in is_module or [node.module])


def level(module: str) -> int:
    parts = module.split("/")
    for number, names in enumerate(LEVELS):
        if module in names:
            return number
    return next(number for number, names in enumerate(LEVELS) if parts[0] in names)


def test_law_1_imports_only_go_down() -> None:
    broken = []
    for path in PACKAGE:
        own = path.relative_to(ROOT / "xdplb").with_suffix("").as_posix()
        for line, name in imports(path):
            if name.startswith("xdplb.") and name != "xdplb.__version__":
                other = name.removeprefix("xdplb.").replace(".", "/")
                if level(other) > level(own):
                    broken.append(f"xdplb/{own}.py:{line} imports {name}")
    assert not broken, f"law 1 (imports only go down): {broken}"


@pytest.mark.parametrize("module", [name for names in PURE for name in names])
def test_law_2_pure_files_stay_pure(module: str) -> None:
    found = {name.split(".")[0] for _, name in imports(ROOT / "xdplb" / f"{module}.py")} & IMPURE_LIBRARIES
    assert not found, f"law 2 (pure files): xdplb/{module}.py imports {found}"


def test_law_3_one_door_per_library() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in CODE
        for line, name in imports(path)
        if (door := DOORS.get(name.split(".")[0])) and not re.fullmatch(door, path.relative_to(ROOT).as_posix())
    ]
    assert not broken, f"law 3 (one door per library): {broken}"


def test_law_4_what_python_knows_of_maps_it_takes_from_the_compiler() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "bpf").glob("*.[ch]")}
    structs = {name: re.findall(r"^struct (\w+) \{", text, re.M) for name, text in files.items()}
    constants = {name: re.findall(r"^#define (\w+) ", text, re.M) for name, text in files.items()}
    contracts = {"backend.h", "maps.h", "prefix_maps.h", "probe_maps.h", "decap_maps.h", "trace_maps.h"}
    assert contracts == {name for name in files if name.endswith("maps.h")} | {"backend.h"}
    again = [
        f"{other}: {what}, of {name}"
        for declared in (structs, constants)
        for name in contracts
        for what in declared[name]
        for other in files
        if other != name and what in declared[other]
    ]
    formats = [
        str(p) for p in PACKAGE if re.search(r"\bstruct\.(un)?pack", p.read_text()) and p.parent.name != "health"
    ]
    assert not again, f"law 4 (what the kernel and Python know is declared once): {again}"
    assert not formats, f"law 4 (no format strings for rows): {formats}"


def test_law_5_stages_never_include_each_other() -> None:
    stages = {"parse.h", "parse_any.h", "find_service.h", "guard.h", "steer.h", "answer.h", "encap.h"}
    broken = [
        f"bpf/{name} includes {other}"
        for name in stages
        for other in re.findall(r'#include "(.+)"', (ROOT / "bpf" / name).read_text())
        if other in stages
    ]
    assert not broken, f"law 5 (stages are apart): {broken}"


def test_law_6_no_feature_macros() -> None:
    broken = [
        f"{path.name}:{number}"
        for path in (ROOT / "bpf").glob("*.[ch]")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"\s*#\s*(if|ifdef|ifndef|elif)\b", line)
    ]
    assert not broken, f"law 6 (plain `if (USE_X)`): {broken}"


def test_law_7_every_module_has_its_test() -> None:
    broken = []
    for path in PACKAGE:
        own = path.relative_to(ROOT / "xdplb")
        if own.name not in ("__init__.py", "__main__.py"):
            test = ROOT / "tests" / own.parent / f"test_{own.name}"
            if not test.exists():
                broken.append(str(test.relative_to(ROOT)))
    assert not broken, f"law 7 (a test file of the same name), missing: {broken}"


def test_no_path_of_one_machine_and_no_host_of_packages() -> None:
    texts = [
        p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".c", ".h", ".yaml"} or p.name == "Makefile"
    ]
    broken = [
        str(path.relative_to(ROOT))
        for path in texts
        if not {".venv", ".cache", ".git"} & set(path.relative_to(ROOT).parts)
        and re.search(r"(?<![\w.])/(wor" + r"k|home|roo" + r"t)/|pypi\.or" + r"g|deb\.debia" + "n", path.read_text())
    ]
    assert not broken, f"paths or hosts of one machine in {broken}"
