"""A certificate authority for one run of the demo, and the certificate of its server."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

_LIFE: Final = datetime.timedelta(days=1)


class TlsFiles(NamedTuple):
    """PEM files: what clients trust, and what the server presents."""

    ca: Path
    cert: Path
    key: Path


def make_certificates(directory: Path, host: str) -> TlsFiles:
    """Certificates for a server at `host`, an IP address. Needs the extra `signing`.

    The authority's own key is in no file: it signs nothing else.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, now = named("smith demo"), datetime.datetime.now(datetime.UTC)

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *more: tuple[Any, bool]) -> bytes:
        builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), now - _LIFE, now + _LIFE)
        extensions = [
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False),
            *more,
        ]
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, critical=is_critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM)

    own_use = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    may_sign = x509.BasicConstraints(ca=True, path_length=0)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    files = TlsFiles(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    files.ca.write_bytes(signed(issuer, authority.public_key(), (may_sign, True), (own_use, True)))
    files.cert.write_bytes(signed(named("nats-server"), key.public_key(), (address, False)))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(private)
    return files
