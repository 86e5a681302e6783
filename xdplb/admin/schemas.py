"""What the API answers, as schemas: the same documents that commands print with `--json`. docs/api.md explains them."""

from __future__ import annotations

from xdplb import events
from xdplb.admin.shapes import COUNT, FLAG, NUMBER, SECONDS, TEXT, Schema, by_name, many, maybe, record, ref
from xdplb.model import Forward, Mode, State

STATE: Schema = {"type": "string", "enum": [str(state) for state in State]}
CHANGE: Schema = {"type": "string", "enum": ["added", "removed", "changed", "kept"]}
FLOWS_KNOWN: Schema = maybe(COUNT)  # null: not counted

INTERFACE = record(
    {"error": TEXT},
    name=TEXT,
    index=maybe(COUNT),
    mode=maybe({"type": "string", "enum": [str(mode) for mode in Mode]}),
    program_id=maybe(COUNT),
    link_id=maybe(COUNT),
    driver=maybe(TEXT),
    mtu=maybe(COUNT),
    up=FLAG,
    carrier=FLAG,
    rx_packets=maybe(COUNT),
    tx_packets=maybe(COUNT),
    xdp_tx_errors=maybe(COUNT),
    compiled=many(TEXT),
    map_bytes=COUNT,
    layout=maybe(TEXT),
    code=maybe(TEXT),
)
CHECK = record(
    kind=TEXT,
    through={"type": "string", "enum": ["tunnel", "direct"]},
    to=TEXT,
    up=maybe(FLAG),
    since=maybe(NUMBER),
    cause=TEXT,
    last=maybe(TEXT),
    at=maybe(NUMBER),
    warning=TEXT,
)
BACKEND = record(
    name=TEXT,
    address=TEXT,
    weight=COUNT,
    state=STATE,
    serving=FLAG,
    fallback=maybe(TEXT),
    reason=TEXT,
    slots=COUNT,
    packets=COUNT,
    bytes=COUNT,
    connections=COUNT,
    flows_left=COUNT,
    checks=many(ref("Check")),
)
SERVICE = record(
    name=TEXT,
    vips=many(TEXT),
    forward={"type": "string", "enum": [str(way) for way in Forward]},
    ring_size=COUNT,
    moving_slots=COUNT,
    moved_slots=COUNT,
    backends=many(ref("Backend")),
)
RECONCILED = record(at=NUMBER, writes=COUNT, adopted=FLAG, took_s=NUMBER, error=maybe(TEXT))
_STATE = {"path": TEXT, "applied_from": maybe(TEXT), "revision": TEXT, "changes": many(TEXT)}
CONFIG = {**_STATE, "taken_up": SECONDS, "error": maybe(record(at=SECONDS, what=TEXT)), "doing": TEXT}
UNCONFIRMED = maybe(record(left_s=NUMBER, then=TEXT, failures=many(TEXT)))
RUNNING = record(**CONFIG, text=TEXT, overrides={"type": "object"}, unconfirmed=UNCONFIRMED)
TAKEN = record(
    writes=COUNT, slots_moved=by_name(COUNT), took_s=NUMBER, **_STATE, unconfirmed=UNCONFIRMED, warnings=many(TEXT)
)
STATUS = record(
    version=TEXT,
    name=TEXT,
    pid=COUNT,
    now=SECONDS,
    started=SECONDS,
    booted=SECONDS,
    config=record(**CONFIG),
    interface=ref("Interface"),
    interfaces=many(ref("Interface")),
    reconcile=ref("Reconciled"),
    start=ref("Reconciled"),
    warnings=many(TEXT),
    unconfirmed=UNCONFIRMED,
    forwarded=record(packets=COUNT, bytes=COUNT, connections=COUNT),
    verdicts=by_name(COUNT),
    spared=by_name(COUNT),
    guard=record(blocked=COUNT, allowed=COUNT, words=COUNT, room=COUNT),
    flows=record(remembered=COUNT, room=COUNT, format=COUNT),
    probes=maybe(by_name(COUNT)),
    services=many(ref("Service")),
)
BREAKS = record(flows=FLOWS_KNOWN, more=FLAG, slots=COUNT, ring_size=COUNT)
DEPARTURE = record(
    {
        "flows_left": FLOWS_KNOWN,
        "learning": FLAG,
        "gone": FLAG,
        "leaving": FLAG,
        "removing": FLAG,
        "deadline": maybe(SECONDS),
        "passed": FLAG,
        "breaks": ref("Breaks"),
    },
    service=TEXT,
    name=TEXT,
    state={"type": "string", "enum": [*STATE["enum"], "removed"]},
    reason=TEXT,
)
CHANGED = record(backends=many(ref("Departure")), writes=COUNT, took_ms=NUMBER)
PLAN_FLOWS = record(
    remembered=FLOWS_KNOWN,
    in_transition=FLOWS_KNOWN,
    connections_per_s=maybe(NUMBER),  # null: not measured
    packets_per_s=maybe(NUMBER),
)
PLAN = record(
    services=many(
        record(
            name=TEXT,
            change=CHANGE,
            slots_moved=COUNT,
            ring_size=COUNT,
            share=NUMBER,
            flows=PLAN_FLOWS,
            stay=FLAG,
            backends=many(record(name=TEXT, change=CHANGE, detail=TEXT)),
        )
    ),
    writes=COUNT,
    program=record(recompiled=FLAG, compiled_in=many(TEXT), compiled_out=many(TEXT), tables_made_anew=FLAG),
    memory=record(before=COUNT, after=COUNT),
    down=by_name(TEXT),
    warnings=many(TEXT),
    settings=many(TEXT),
    differences=many(TEXT),
    unknown=many(TEXT),
)
EVENT = record(
    number=COUNT,
    at=SECONDS,
    kind={"type": "string", "enum": [events.BACKEND, *events.DONE]},
    service=maybe(TEXT),
    backend=maybe(TEXT),
    was=maybe(STATE),
    state=maybe(STATE),
    cause=TEXT,
    who=maybe(TEXT),
)
RATES = {f"{name}_per_s": maybe(NUMBER) for name in ("packets", "bytes", "connections")}  # null: the first look
COUNTED = record(service=TEXT, backend=TEXT, packets=COUNT, bytes=COUNT, connections=COUNT, **RATES)
COUNTERS = record(
    at=SECONDS,
    interval_s=maybe(NUMBER),
    backends=many(COUNTED),
    verdicts=by_name(record(packets=COUNT, per_s=maybe(NUMBER))),
)
AUDITED = record(
    {
        "uid": COUNT,
        "gid": COUNT,
        "pid": COUNT,
        "comm": TEXT,
        "certificate": TEXT,
        "serial": TEXT,
        "address": TEXT,
        "content": {},
    },
    number=COUNT,
    at=SECONDS,
    who=TEXT,
    method=TEXT,
    path=TEXT,
    status=COUNT,
    took_ms=NUMBER,
)
ERROR = record({"key": TEXT, "problem": TEXT, "fix": TEXT}, error=TEXT)

PROBED = record(
    service=TEXT,
    backend=TEXT,
    kind=TEXT,
    through=TEXT,
    to=TEXT,
    passed=FLAG,
    cause=TEXT,
    warning=TEXT,
    took_ms=NUMBER,
    steps=many(record(at_ms=NUMBER, what=TEXT, sent=COUNT, received=COUNT)),
)

COMPONENTS: dict[str, Schema] = {
    "Status": STATUS,
    "Service": SERVICE,
    "Backend": BACKEND,
    "Check": CHECK,
    "Interface": INTERFACE,
    "Reconciled": RECONCILED,
    "Departure": DEPARTURE,
    "Breaks": BREAKS,
    "Changed": CHANGED,
    "Plan": PLAN,
    "Taken": TAKEN,
    "Event": EVENT,
    "Probed": PROBED,
    "Counters": COUNTERS,
    "Audited": AUDITED,
    "Error": ERROR,
}
