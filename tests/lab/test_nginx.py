"""A real nginx behind a VIP: small answers and large transfers in both directions, in all family mixes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.lab.net import VIP4, VIP6, Lab, address
from tools.lab.stand import ROOT, Stand, wait_for

SIZE = 20_000_000
NGINX = shutil.which("nginx") or str(ROOT / ".cache/nginx/usr/sbin/nginx")
CONFIG = """
pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; daemon off;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; default_type text/plain; client_max_body_size 100m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 8080; listen [::]:8080;
    location = / {{ return 200 "{host}\\n"; }}
    location = /big {{ root {folder}; }}
    location = /sink {{ return 200 "got it\\n"; }}
  }}
}}
"""


@pytest.fixture
def balanced(stand: Stand, tmp_path: Path) -> Iterator[Stand]:
    """nginx on b1 and b2, balanced on port 8080 of both VIPs, one backend in each family."""
    servers = [start_nginx(stand.lab, host, tmp_path / host) for host in ("b1", "b2")]
    config = tmp_path / "nginx.toml"
    config.write_text(
        f'[balancer]\ninterface = "eth0"\n[[service]]\nname = "web"\nvips = ["{VIP4}:8080", "[{VIP6}]:8080"]\n'
        f'backends = [{{ name = "b1", address = "{address("b1")}" }},'
        f' {{ name = "b2", address = "{address("b2", 6)}" }}]\n'
    )
    stand.start_daemon(config)
    for host in ("b1", "b2"):
        stand.wait_state(host, "up")
    yield stand
    for server in servers:
        server.terminate()
        server.wait(5)


def start_nginx(lab: Lab, host: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    folder.chmod(0o755)
    with (folder / "big").open("wb") as file:
        file.truncate(SIZE)
    (folder / "conf").write_text(CONFIG.format(folder=folder, host=host))
    server = lab.spawn(host, [NGINX, "-c", folder / "conf", "-e", folder / "error.log", "-g", "user root;"])
    wait_for((folder / "pid").exists, f"nginx on {host}")
    return server


def fetch(stand: Stand, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the lab's own client program: a socket, a request, the whole answer."""
    code = (
        "import http.client, sys\n"
        "host, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
        "c = http.client.HTTPConnection(host, 8080, timeout=10)\n"
        "c.request('POST' if size else 'GET', path, bytes(size) if size else None)\n"
        "r = c.getresponse()\n"
        "b = r.read()\n"
        "print(r.status, len(b), b[:20].decode().strip() if len(b) < 99 else '')\n"
    )
    return stand.lab.run("client", ["/usr/bin/python3", "-c", code, *arguments], timeout=20)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_small_answers_come_from_both_servers(balanced: Stand, vip: str) -> None:
    answers = {fetch(balanced, vip, "/", "0").stdout for _ in range(16)}
    assert answers == {"200 3 b1\n", "200 3 b2\n"}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_large_transfers_work_in_both_directions_in_every_family_mix(balanced: Stand, vip: str) -> None:
    for kept, drained in (("b1", "b2"), ("b2", "b1")):
        balanced.run("backend", "undrain", kept)
        balanced.run("backend", "drain", drained)
        assert fetch(balanced, vip, "/big", "0").stdout == f"200 {SIZE} \n"
        before = balanced.backend(kept)["bytes"]
        assert fetch(balanced, vip, "/sink", str(SIZE)).stdout == "200 7 got it\n"
        # nginx answers before it has all, and the client's kernel sends the rest after its process has ended.
        wait_for(lambda: balanced.backend(kept)["bytes"] - before > SIZE, "all of it")  # noqa: B023 (called here)
