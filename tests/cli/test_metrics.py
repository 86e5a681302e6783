"""`xdplb metrics` prints what the running daemon has to say, as Prometheus would read it."""

from __future__ import annotations

import re
import socket

from tests.rig.promtool import promtool
from tools.lab.stand import Stand
from xdplb.metrics import METRICS, OPENMETRICS


def test_metrics_of_the_running_daemon(running: Stand) -> None:
    """All names are those of the catalogue; what the daemon cannot know is away."""
    done = running.run("metrics")

    assert done.returncode == 0, done.stderr
    found = set(re.findall(r"^# TYPE (\S+)", done.stdout, re.M))
    known = {metric.name for metric in METRICS}
    assert found <= known
    assert known - found <= {"xdplb_interface_xdp_tx_errors_total", "xdplb_tunnel_packets_total"}
    samples = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line[0] != "#")
    assert float(samples['xdplb_backend_probes_total{service="web",backend="b1",result="passed"}']) >= 1
    assert samples['xdplb_events_total{state="up"}'] == "3"
    assert float(samples["process_resident_memory_bytes"]) > 10_000_000
    assert 0 < float(samples["process_start_time_seconds"]) <= float(samples["xdplb_start_time_seconds"])
    status = running.client.status()
    assert samples["xdplb_reconcile_writes_total"] == str(status["start"]["writes"])
    assert samples["xdplb_map_bytes"] == str(status["interface"]["map_bytes"])
    assert promtool("check", "metrics", text=done.stdout) == ""
    assert asks_for_openmetrics(running).endswith("# EOF\n\r\n0\r\n\r\n")


def asks_for_openmetrics(stand: Stand) -> str:
    """Return the raw answer to somebody who knows OpenMetrics."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(stand.client.path))
        accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        raw.sendall(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert f"Content-Type: {OPENMETRICS}" in answer
    return answer
