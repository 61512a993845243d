"""Certificates for https endpoints at 127.0.0.1, created for one run: a trusted one and an untrusted one."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """`trusted` is the file for SSL_CERT_FILE. It contains the certificate of `good`, but not that of
    `untrusted`.
    """

    trusted: Path
    good: ssl.SSLContext
    untrusted: ssl.SSLContext


def authority(folder: Path) -> Pair:
    return Pair(
        self_signed(folder / "good.pem"),
        _context(folder / "good.pem"),
        _context(self_signed(folder / "other.pem")),
    )


def _context(file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


def self_signed(file: Path, *, days: int = 1) -> Path:
    """Writes a key and a self-signed certificate for 127.0.0.1 and localhost into the file; returns it. The
    certificate expires in so many days; it has if they are negative.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file.stem)])
    now = dt.datetime.now(dt.UTC)
    expiry = now + dt.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, expiry) - dt.timedelta(days=1))
        .not_valid_after(expiry)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
