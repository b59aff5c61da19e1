"""What an embedded installation makes for itself on its first start: folders, a session secret, a certificate."""

from __future__ import annotations

import ipaddress
import secrets
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.utils import timezone

from apps.keys.services import write_once
from portal.hosts import own_names

FOLDERS = ("keys", "log", "queue", "blobs", "mail")


def make_folders(data_dir: Path) -> None:
    """Make the data directory and its folders, readable by nobody else."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in FOLDERS:
        (data_dir / name).mkdir(mode=0o700, exist_ok=True)


def make_secret_key(data_dir: Path) -> str:
    """Return the session secret of this installation, made on its first start."""
    path = data_dir / "keys" / "secret.key"
    if not path.exists():
        write_once(path, secrets.token_urlsafe(64).encode())
    return path.read_text().strip()


def make_certificate(data_dir: Path) -> None:
    """Make a self-signed certificate for this machine's names, valid for a year; renewed when a month is left."""
    certificate_path, key_path = data_dir / "keys" / "tls.crt", data_dir / "keys" / "tls.key"
    now = timezone.now()
    if certificate_path.exists() and key_path.exists():
        old = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        if old.not_valid_after_utc > now + timedelta(days=30):
            return
    # One without the other is what a start left that was cut off.
    certificate_path.unlink(missing_ok=True)
    key_path.unlink(missing_ok=True)
    names, addresses = own_names()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Viewbox on this machine")])
    alternatives = [x509.DNSName(name) for name in names] + [
        x509.IPAddress(ipaddress.ip_address(address)) for address in addresses
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_once(
        key_path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    write_once(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
