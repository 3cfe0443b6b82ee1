"""The certificate of a local installation."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509

from penstock_cli.local_certificate import ensure_certificate

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    """The folder has mode 700, the key 600; the authority's key is nowhere."""
    folder = tmp_path / "tls"
    assert ensure_certificate(folder, NOW)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
    assert set(contents(folder)) == {"ca.crt", "tls.crt", "tls.key"}
    ssl.create_default_context().load_cert_chain(folder / "tls.crt", folder / "tls.key")  # they belong together
    assert b"PRIVATE" not in (folder / "ca.crt").read_bytes()


def test_the_authority_vouches_for_this_machine_only(tmp_path: Path) -> None:
    """It signed the certificate, whose names are those of the loopback interface; it can sign no other authority."""
    ensure_certificate(tmp_path, NOW)
    authority, certificate = (
        x509.load_pem_x509_certificate((tmp_path / name).read_bytes()) for name in ("ca.crt", "tls.crt")
    )
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["localhost", "127.0.0.1", "::1"]
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.ca and constraints.path_length == 0


def test_a_certificate_is_kept_until_its_last_month(tmp_path: Path) -> None:
    """Then it is replaced, with its key and its authority, and so is one that cannot be read."""
    ensure_certificate(tmp_path, NOW)
    first = contents(tmp_path)
    assert not ensure_certificate(tmp_path, NOW + 334 * DAY)
    assert contents(tmp_path) == first
    assert ensure_certificate(tmp_path, NOW + 336 * DAY)
    second = contents(tmp_path)
    assert all(second[name] != content for name, content in first.items())
    (tmp_path / "tls.crt").write_text("nonsense")
    assert ensure_certificate(tmp_path, NOW + 336 * DAY)
