"""Who signs in, in tests: NKeys, an operator with its users, and an authority for certificates."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import ipaddress
import json
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID


def encoded(kind: int, data: bytes) -> str:
    raw = bytes([kind]) + data
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


class NKey:
    """A key pair as NATS writes it; `kind` is the number of its letter."""

    def __init__(self, letter: str) -> None:
        self.kind = (ord(letter) - ord("A")) << 3
        self.key = Ed25519PrivateKey.generate()
        self.public = encoded(self.kind, self.key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        first = (18 << 3) | (self.kind >> 5)
        raw = bytes([first, (self.kind & 31) << 3]) + self.key.private_bytes_raw()
        return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")

    def issue(self, subject: str, name: str, what: dict[str, Any]) -> str:
        """A JWT for `subject`, signed by this key."""

        def part(data: bytes) -> str:
            return base64.urlsafe_b64encode(data).decode().rstrip("=")

        claims = {"jti": hashlib.sha256(subject.encode()).hexdigest(), "iat": 1, "iss": self.public, "name": name, "sub": subject}
        head = json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode()
        signed = f"{part(head)}.{part(json.dumps(claims | {'nats': what}).encode())}"
        return f"{signed}.{part(self.key.sign(signed.encode()))}"


class Operator:
    """An operator with one account and one user of it, for a server in operator mode."""

    def __init__(self) -> None:
        self.operator, self.account, self.user = NKey("O"), NKey("A"), NKey("U")
        operator = self.operator.issue(self.operator.public, "op", {"type": "operator", "version": 2})
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
        account = self.operator.issue(self.account.public, "acc", {"type": "account", "version": 2, "limits": limits})
        preload = f"resolver_preload: {{ {self.account.public}: {account} }}"
        self.config = f"operator: {operator}\nresolver: MEMORY\n{preload}"

    def creds(self, user: NKey) -> str:
        what = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        jwt = self.account.issue(user.public, "hidden-name", what)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Authority:
    """Signs certificates for the time of a test."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(**{name: name in ("key_cert_sign", "crl_sign") for name in _KEY_USAGES})  # Python 3.13 wants it
        made = self._sign(self.issuer, self.key, x509.BasicConstraints(ca=True, path_length=None), usage)
        self.ca = self._write("ca.pem", made.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self.issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        for one in extensions:
            builder = builder.add_extension(one, critical=isinstance(one, (x509.BasicConstraints, x509.KeyUsage)))
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return builder.add_extension(authority, critical=False).sign(self.key, hashes.SHA256())

    def _write(self, name: str, data: bytes) -> str:
        file = self.directory / f"{self.name}-{name}"
        file.write_bytes(data)
        return str(file)

    def certificate(self, name: str) -> tuple[str, str]:
        """Files of a certificate and its key for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, names)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self._write(f"{name}.pem", made.public_bytes(form[0])), self._write(f"{name}.key", key.private_bytes(*form))
