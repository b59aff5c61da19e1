"""What an embedded installation makes for itself on its first start: folders, a session secret, a certificate."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.utils import timezone

FOLDERS = ("keys", "log", "queue", "blobs", "mail")


def make_folders(data_dir: Path) -> None:
    """Make the data directory and its folders, readable by nobody else."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in FOLDERS:
        (data_dir / name).mkdir(mode=0o700, exist_ok=True)


def write_once(path: Path, content: bytes) -> None:
    """Write a new private file, durable and whole or not at all; raises FileExistsError rather than replace one."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    finally:
        aside.unlink()


def make_secret_key(data_dir: Path) -> str:
    """Return the session secret of this installation, made on its first start."""
    path = data_dir / "keys" / "secret.key"
    if not path.exists():
        write_once(path, secrets.token_urlsafe(64).encode())
    return path.read_text().strip()


def own_names() -> tuple[list[str], list[str]]:
    """Return this machine's host names and addresses, under which a phone on the same network may call it."""
    host = socket.gethostname()
    addresses = {"127.0.0.1", "::1"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only asks which own address would be used.
            probe.connect(("192.0.2.1", 9))
            addresses.add(probe.getsockname()[0])
        except OSError:
            pass  # no network: only this machine can call
    return ["localhost", host], sorted(addresses)


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
