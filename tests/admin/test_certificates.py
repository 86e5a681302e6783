"""Files that are no use are told by key, path and fix; one that is replaced by rubbish leaves the last good one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from xdplb.admin.certificates import Certificates, make_context
from xdplb.errors import ConfigError
from xdplb.model import Admin


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair, the key of another one, the pair's key with a passphrase, an authority, and rubbish."""
    folder, ca = tmp_path_factory.mktemp("files"), trustme.CA()
    pair, other = ca.issue_cert("lb.example"), ca.issue_cert("lb.example")
    pair.cert_chain_pems[0].write_to_path(folder / "daemon.pem")
    pair.private_key_pem.write_to_path(folder / "daemon.key")
    other.private_key_pem.write_to_path(folder / "other.key")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    key = load_pem_private_key(pair.private_key_pem.bytes(), None)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "secret.key").write_bytes(secret)
    (folder / "rubbish").write_text("rubbish")
    return folder


def admin(folder: Path, **other: str) -> Admin:
    names = {"certificate": "daemon.pem", "key": "daemon.key", "client_ca": "ca.pem", **other}
    return replace(Admin(), **{key: str(folder / name) for key, name in names.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "name", "problem"),
    [
        ("certificate", "nothing", "cannot be read: no such file or directory; name a file that root may read"),
        ("certificate", "rubbish", "holds no certificate in PEM; convert it with `openssl x509`"),
        ("key", "nothing", "cannot be read: no such file or directory"),
        ("key", "rubbish", "holds no usable private key in PEM; convert it"),
        ("key", "other.key", "is not the key of "),
        ("key", "secret.key", "is encrypted; give a key without a passphrase"),
        ("client_ca", "nothing", "cannot be read: no such file or directory"),
        ("client_ca", "rubbish", "holds no certificates in PEM; name the file of the authority"),
    ],
)
def test_a_file_that_is_no_use_is_told(files: Path, key: str, name: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_context(admin(files, **{key: name}))
    assert str(caught.value).startswith(f"admin.{key}: '{files / name}' {problem}")


def test_rubbish_leaves_the_last_good_one_and_is_told_until_it_is_mended(files: Path) -> None:
    wanted, text = admin(files), (files / "daemon.pem").read_text()
    warnings: list[str] = []
    certificates = Certificates(wanted, warnings)
    good = certificates.renew(wanted)
    (files / "daemon.pem").write_text("half a certifi")
    assert certificates.renew(wanted) is good
    assert "holds no certificate in PEM" in warnings[0]
    assert warnings[0].endswith("; the ones before are still in use")
    (files / "daemon.pem").write_text(text)
    assert certificates.renew(wanted) is not good
    assert warnings == []
