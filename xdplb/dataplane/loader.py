"""Get a program and its maps: adopt what is pinned when it is the same, otherwise have it compiled beside.

Pins of one balancer lie in a folder of bpffs; in it, one folder for each layout of the maps, named by what decides
the layout, and there the maps and the programs, named by what decides the code. So an equal name means equal
content, an adopted program needs no compiler, and a new one never meets maps of another shape.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xdplb.contract import CONSTANTS
from xdplb.dataplane import syscall
from xdplb.dataplane.source import BPF_DIR, fingerprint, join
from xdplb.errors import KernelError

BPFFS = Path("/sys/fs/bpf")
RUN = Path("/run/xdplb")
TUNNEL = "tunnel"
FORMAT = CONSTANTS["FLOWS_FORMAT"]


def mount_bpffs() -> None:
    """Mount bpffs where it is missing. Raises KernelError."""
    if not os.path.ismount(BPFFS):
        done = subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], capture_output=True, text=True)
        if done.returncode:
            raise KernelError(f"cannot mount bpffs on {BPFFS}: {done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one balancer (or decap agent) keeps its pins and its files."""

    name: str

    @property
    def pins(self) -> Path:
        """The folder in bpffs."""
        return BPFFS / "xdplb" / self.name

    @property
    def run(self) -> Path:
        """The folder for the socket, the lock and what must not survive a reboot."""
        return RUN / self.name

    @property
    def tunnel(self) -> Place:
        """Where what encapsulates its probes is kept: inside, so that it goes with the rest, and not when tables do."""
        return Place(f"{self.name}/{TUNNEL}")

    def link(self, ifindex: int) -> Path:
        """Where the link of an interface is pinned (by number: bpffs forbids the dot of `eth0.100`)."""
        return self.pins / f"link_{ifindex}"

    def make(self) -> None:
        """Make both folders, mounting bpffs when it is missing. Raises KernelError."""
        mount_bpffs()
        for folder in (self.run, self.pins):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except PermissionError:
                raise KernelError(f"no permission to make {folder}; run this as root, or let this user in") from None

    def remove(self) -> None:
        """Remove every pin and file; what is pinned nowhere else ends with it."""
        shutil.rmtree(self.pins, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)
        for parent in (BPFFS / "xdplb", RUN):
            with contextlib.suppress(OSError):
                parent.rmdir()


@dataclass(frozen=True, slots=True)
class Request:
    """A program to have: an entry of `bpf/`, its constants, and which of them shape the maps."""

    source: str
    function: str
    contract: tuple[str, ...]  # the headers that say how the maps look and where things lie in them
    sizes: dict[str, int]
    defines: dict[str, int]
    tail: str | None = None  # another function, in which the first one goes on at times
    frags: bool = False  # it takes frames of several buffers
    kind: str = "xdp"  # of program: syscall.PROGRAM_TYPES
    own: tuple[str, ...] = ()  # maps that come and go with the program

    @property
    def layout(self) -> str:
        """Name of the maps' layout."""
        return fingerprint("".join(join(BPF_DIR / header) for header in self.contract), self.sizes)

    @property
    def code(self) -> str:
        """Name of the program's code."""
        return fingerprint(join(BPF_DIR / self.source), self.defines)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A loaded program and its maps, those of its layout and its `own`. `adopted`: nothing was compiled."""

    folder: Path
    program: Path
    maps: dict[str, Any]
    adopted: bool
    own: dict[str, Any] = field(default_factory=dict)

    def own_pin(self, name: str) -> Path:
        """Where a map of its own is pinned."""
        return _own_pin(self.folder, name, self.program.name.removeprefix("program_"))


LENT = ("flows", "stamps")  # maps that tables of another layout may have in common


def obtain(place: Place, request: Request, lender: Path | None = None) -> Pinned:
    """Adopt or compile, load and pin. Raises KernelError; the compiler's words go to standard error.

    New maps that the folder `lender` has, too, and that may be lent, are those.
    """
    folder = place.pins / request.layout
    program, file = folder / f"program_{request.code}", _layout_file(place, request.layout)
    if program.exists() and file.exists():
        maps, own = json.loads(file.read_text())["maps"], _read_own(place, request)
        if all((folder / name).exists() for name in maps) and len(own) == len(request.own):
            return Pinned(folder, program, maps, True, own)
    if not folder.exists():
        folder.mkdir(mode=0o700)
        for name in LENT if lender else ():
            assert lender is not None
            fd = syscall.get(lender / name)
            syscall.pin(fd, folder / name)
            os.close(fd)
    answer = _compile(request, folder, program)
    _write(file, {"format": FORMAT, "maps": answer["maps"]})
    _write(code_file(place, program), answer["code"])
    if request.own:
        _write(_own_file(place, request.code), answer["own"])
    return Pinned(folder, program, answer["maps"], False, answer["own"])


def _write(file: Path, document: Any) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(document))
    beside.rename(file)


def code_file(place: Place, program: Path) -> Path:
    """Where the instructions of a pinned program are kept, to be run once more beside it (dataplane/shadow.py)."""
    return place.run / f"code_{program.name.removeprefix('program_')}.json"


def write_code(place: Place, request: Request, pinned: Pinned) -> None:
    """Compile a program that was loaded without keeping its instructions, and keep them. Raises KernelError."""
    _write(code_file(place, pinned.program), _compile(request, pinned.folder, None)["code"])


def _layout_file(place: Place, layout: str) -> Path:
    return place.run / f"layout_{layout}.json"


def _own_pin(folder: Path, name: str, code: str) -> Path:
    return folder / f"own_{name}_{code}"


def _own_file(place: Place, code: str) -> Path:
    return place.run / f"own_{code}.json"


def _read_own(place: Place, request: Request) -> dict[str, Any]:
    """Return what is known of a program's own maps, if all of it is there."""
    pins = [_own_pin(place.pins / request.layout, name, request.code) for name in request.own]
    with contextlib.suppress(OSError, ValueError):
        own: dict[str, Any] = json.loads(_own_file(place, request.code).read_text()) if pins else {}
        return own if all(pin.exists() for pin in pins) else {}
    return {}


def find(place: Place, layout: str) -> Pinned | None:
    """Return tables of a layout, whatever program uses them; None when they mean something else to this version.

    Raises KernelError when there are none.
    """
    folder = place.pins / layout
    try:
        described = json.loads(_layout_file(place, layout).read_text())
        readable, maps = described["format"] == FORMAT, described["maps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KernelError(f"{_layout_file(place, layout)} does not say what is in {folder} ({error!r})") from None
    if not all((folder / name).exists() for name in maps):
        raise KernelError(f"{folder} lacks tables")
    return Pinned(folder, folder / "program", maps, adopted=True) if readable else None


def _compile(request: Request, folder: Path, program: Path | None) -> dict[str, Any]:
    """Run the compiler in a process of its own and return its answer. Without `program`, nothing is loaded."""
    order = {
        "source": request.source,
        "function": request.function,
        "pin_dir": str(folder),
        "program": str(program) if program else None,
        "tail": request.tail,
        "tail_pin": str(folder / f"tail_{request.code}"),
        "frags": request.frags,
        "kind": request.kind,
        "own": {name: str(_own_pin(folder, name, request.code)) for name in request.own},
        "defines": {name: f"{value}ULL" if value > 0xFFFFFFFF else value for name, value in request.defines.items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "xdplb.dataplane.compile"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    sys.stderr.write(done.stderr)  # the compiler's and the verifier's words are never hidden
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        if "No module named 'bcc'" in done.stderr:
            raise KernelError("BCC is missing; run `apt install python3-bpfcc linux-libc-dev`")
        raise KernelError(f"bpf/{request.source} was not loaded ({last[0]}); the full report is above")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def forget_others(place: Place, keep: Pinned, spare: str = "") -> None:
    """Remove the pins of every other program and layout of this place, when nothing uses them any more.

    The tunnel's are not among them, nor the program with this code.
    """
    for folder in place.pins.iterdir():
        if folder.is_dir() and folder != keep.folder and folder.name != TUNNEL:
            shutil.rmtree(folder, ignore_errors=True)
            _layout_file(place, folder.name).unlink(missing_ok=True)
    code = keep.program.name.removeprefix("program_")
    for pin in [path for kind in ("program", "tail", "own") for path in keep.folder.glob(f"{kind}_*")]:
        if pin.name.rpartition("_")[2] not in (code, spare):
            pin.unlink(missing_ok=True)
    for file in [path for kind in ("own", "code") for path in place.run.glob(f"{kind}_*.json")]:
        if file.stem.rpartition("_")[2] not in (code, spare):
            file.unlink(missing_ok=True)


def forget_unused(place: Place) -> None:
    """Remove every pin of this place, unless a program is attached by one of them to some interface."""
    if not any(place.pins.glob("link_*")):
        shutil.rmtree(place.pins, ignore_errors=True)


# --- attaching ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """What is attached where."""

    link_id: int
    program_id: int


def attached(place: Place, ifindex: int) -> Attached | None:
    """Return our own attachment to this interface, if it lives."""
    try:
        fd = syscall.get(place.link(ifindex))
    except FileNotFoundError:
        return None
    try:
        link = syscall.link(fd)
    finally:
        os.close(fd)
    if link.ifindex != ifindex:  # its interface has vanished, and another got the number or none did
        place.link(ifindex).unlink(missing_ok=True)
        return None
    return Attached(link.id, link.program_id)


def attach(place: Place, pinned: Pinned, interface: str, ifindex: int, mode: str) -> Attached:
    """Attach the program, or swap it in atomically where ours is attached already. Raises KernelError."""
    fd = syscall.get(pinned.program)
    try:
        if attached(place, ifindex):
            link_fd = syscall.get(place.link(ifindex))
            syscall.link_update(link_fd, fd)
        else:
            link_fd = syscall.link_create(fd, ifindex, mode)
            syscall.pin(link_fd, place.link(ifindex))
        os.close(link_fd)
    except OSError as error:
        raise KernelError(_why_not_attached(error, interface, mode)) from error
    finally:
        os.close(fd)
    result = attached(place, ifindex)
    if result is None:
        raise KernelError(f"{interface} vanished while the program was attached; start again when it is back")
    return result


def _why_not_attached(error: OSError, interface: str, mode: str) -> str:
    """Say what the errno of a refused attach means and what to do."""
    what = f"{interface}: the kernel refused XDP in {mode} mode ({error.strerror})"
    if error.errno == 95 or (error.errno == 22 and mode == "offload"):  # EOPNOTSUPP
        other = "native" if mode == "offload" else "generic"
        return f'{what}: its driver cannot do that; set balancer.mode = "{other}" or use another NIC'
    if error.errno in (34, 22):  # ERANGE, EINVAL: veth and most drivers, when a frame does not fit one page
        return f"{what}: most drivers want an MTU of at most 3506; run `ip link set {interface} mtu 1500`"
    if error.errno == 16:  # EBUSY
        return f"{what}: another program is attached; run `ip -d link show {interface}`, or use --replace"
    if error.errno == 17:  # EEXIST
        return f"{what}: a program is attached in another mode; run `ip link set {interface} xdp off`"
    return what


def detach_others(place: Place, ifindexes: Iterable[int]) -> list[int]:
    """Detach from every interface but these; return their numbers."""
    return detach(place, keep=[place.link(ifindex) for ifindex in ifindexes])


def detach(place: Place, keep: Collection[Path] = ()) -> list[int]:
    """Detach from every interface; return their numbers."""
    found = []
    for path in sorted(place.pins.glob("link_*")):
        if path in keep:
            continue
        fd = syscall.get(path)
        link = syscall.link(fd)
        if link.ifindex:
            syscall.link_detach(fd)
            found.append(link.ifindex)
        os.close(fd)
        path.unlink()
    return found


def force_off(program_id: int, ifindex: int) -> bool:
    """Detach somebody else's link that holds this program on an interface; False when no link does.

    Raises KernelError: only CAP_SYS_ADMIN may look through all links (kernel/bpf/syscall.c, bpf_obj_get_next_id).
    """
    try:
        for fd, link in syscall.xdp_links():
            if (link.program_id, link.ifindex) == (program_id, ifindex):
                syscall.link_detach(fd)
                return True
    except PermissionError:
        fix = "run this once by hand, as root and outside a unit"
        raise KernelError(f"taking off somebody else's XDP program needs CAP_SYS_ADMIN; {fix}") from None
    return False
