# generated from subjects.toml by smith-codegen; do not edit
"""The payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec
from typing_extensions import TypeVar

from smith_sdk.contract import (
    Cap,
    Payload,
    is_token,
    kind_of,
    new_uuid4,
    new_uuid7,
    now_ns,
    now_rfc3339,
    refuse_int,
    refuse_token,
    respell,
)

from ._tokens import LEVEL_VALUES, Domain, EventType, ExecutorId, IntentId, RunId, Service, StepId, TaskId


class FsReadV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of fs.read.v1."""

    path: str
    max_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})] | None = None
    follow_symlinks: bool | None = None

    def __post_init__(self) -> None:
        if type(self.max_bytes) is int and self.max_bytes > 18446744073709551615:
            refuse_int("FsReadV1Params", "max_bytes", self.max_bytes, 18446744073709551615)


class FsReadV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="fs.read.v1"):
    """A request to execute one capability: fs.read.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[FsReadV1Intent]] = Cap("fs.read.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: FsReadV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "FsReadV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "FsReadV1Intent")

    @property
    def capability(self) -> Cap[FsReadV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: FsReadV1Params,
    ) -> FsReadV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class FsWriteV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of fs.write.v1."""

    path: str
    content: str
    append: bool | None = None
    create: bool | None = None


class FsWriteV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="fs.write.v1"):
    """A request to execute one capability: fs.write.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[FsWriteV1Intent]] = Cap("fs.write.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: FsWriteV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "FsWriteV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "FsWriteV1Intent")

    @property
    def capability(self) -> Cap[FsWriteV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: FsWriteV1Params,
    ) -> FsWriteV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class HttpFetchV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of http.fetch.v1."""

    url: str
    method: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None
    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None


class HttpFetchV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="http.fetch.v1"):
    """A request to execute one capability: http.fetch.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[HttpFetchV1Intent]] = Cap("http.fetch.v1")
    ALIASES: ClassVar[tuple[str, ...]] = ("http_fetch",)
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: HttpFetchV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "HttpFetchV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "HttpFetchV1Intent")

    @property
    def capability(self) -> Cap[HttpFetchV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: HttpFetchV1Params,
    ) -> HttpFetchV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class GitCloneV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of git.clone.v1."""

    url: str
    dest: str | None = None
    branch: str | None = None
    depth: int | None = None


class GitCloneV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="git.clone.v1"):
    """A request to execute one capability: git.clone.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[GitCloneV1Intent]] = Cap("git.clone.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: GitCloneV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "GitCloneV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "GitCloneV1Intent")

    @property
    def capability(self) -> Cap[GitCloneV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: GitCloneV1Params,
    ) -> GitCloneV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class ArchiveReadV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of archive.read.v1."""

    path: str
    extract_content: bool | None = None


class ArchiveReadV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="archive.read.v1"):
    """A request to execute one capability: archive.read.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[ArchiveReadV1Intent]] = Cap("archive.read.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: ArchiveReadV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "ArchiveReadV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "ArchiveReadV1Intent")

    @property
    def capability(self) -> Cap[ArchiveReadV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: ArchiveReadV1Params,
    ) -> ArchiveReadV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class SqliteQueryV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of sqlite.query.v1."""

    database_path: str
    query: str
    params: list[Any] | None = None
    max_rows: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None


class SqliteQueryV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="sqlite.query.v1"):
    """A request to execute one capability: sqlite.query.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[SqliteQueryV1Intent]] = Cap("sqlite.query.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: SqliteQueryV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "SqliteQueryV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "SqliteQueryV1Intent")

    @property
    def capability(self) -> Cap[SqliteQueryV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: SqliteQueryV1Params,
    ) -> SqliteQueryV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class BenchReportV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of bench.report.v1."""

    benchmark_name: str
    metrics: dict[str, float]
    metadata: dict[str, Any] | None = None
    retention_days: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None


class BenchReportV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="bench.report.v1"):
    """A request to execute one capability: bench.report.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[BenchReportV1Intent]] = Cap("bench.report.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: BenchReportV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "BenchReportV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "BenchReportV1Intent")

    @property
    def capability(self) -> Cap[BenchReportV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: BenchReportV1Params,
    ) -> BenchReportV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class ShellExecV1Params(Payload, frozen=True, kw_only=True):
    """The parameters of shell.exec.v1."""

    command: str
    args: list[str] | None = None
    env: dict[str, str] | None = None
    cwd: str | None = None
    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    stdin: str | None = None


class ShellExecV1Intent(Payload, frozen=True, kw_only=True, tag_field="capability", tag="shell.exec.v1"):
    """A request to execute one capability: shell.exec.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[Cap[ShellExecV1Intent]] = Cap("shell.exec.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    params: ShellExecV1Params

    def __post_init__(self) -> None:
        if not is_token(self.domain):
            refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "ShellExecV1Intent")
        if not is_token(self.id):
            refuse_token("smith.results.{intent_id}", "id", self.id, "", "ShellExecV1Intent")

    @property
    def capability(self) -> Cap[ShellExecV1Intent]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

    @classmethod
    def new(
        cls,
        *,
        id: str | None = None,
        domain: str,
        created_at_ns: int | None = None,
        ttl_ms: int = 300000,
        nonce: str | None = None,
        signer: str = "",
        signature_b64: str = "",
        metadata: dict[str, Any] | None = None,
        params: ShellExecV1Params,
    ) -> ShellExecV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class QuarantinedIntent(Payload, frozen=True, kw_only=True):
    """An intent that nobody may execute, kept for review."""

    intent: bytes
    """The intent as it was received; base64 in JSON."""
    reason: str
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""

    @classmethod
    def new(
        cls,
        *,
        intent: bytes,
        reason: str,
        timestamp_ns: int | None = None,
    ) -> QuarantinedIntent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            intent=intent,
            reason=reason,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
        )


class IntentResult(Payload, frozen=True, kw_only=True):
    """What became of an intent."""

    ID_FIELD: ClassVar[str | None] = "intent_id"
    MAX_ITEMS: ClassVar[int] = 1000000

    intent_id: IntentId
    status: Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"]
    """`success` and `failed` are older words for `ok` and `error`."""
    output: Any = None
    error: ExecutionError | None = None
    started_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    finished_at_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    runner_meta: RunnerMetadata
    audit_ref: AuditRef

    def __post_init__(self) -> None:
        if not is_token(self.intent_id):
            refuse_token("smith.results.{intent_id}", "intent_id", self.intent_id, "", "IntentResult")

    @classmethod
    def new(
        cls,
        *,
        intent_id: str,
        status: Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"],
        output: Any = None,
        error: ExecutionError | None = None,
        started_at_ns: int,
        finished_at_ns: int | None = None,
        runner_meta: RunnerMetadata,
        audit_ref: AuditRef,
    ) -> IntentResult:
        """A new payload; fields that are not given are filled in."""
        return cls(
            intent_id=IntentId(intent_id),
            status=status,
            output=output,
            error=error,
            started_at_ns=started_at_ns,
            finished_at_ns=now_ns() if finished_at_ns is None else finished_at_ns,
            runner_meta=runner_meta,
            audit_ref=audit_ref,
        )


class ExecutionError(Payload, frozen=True, kw_only=True):
    """Why an intent was not executed, or failed. A denial has the code POLICY_DENIED."""

    code: str
    message: str


class RunnerMetadata(Payload, frozen=True, kw_only=True):
    """The process that executed an intent, and what it used."""

    pid: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    cpu_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds of processor time."""
    max_rss_kb: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Largest resident set, in KiB."""
    capability_digest: str | None = None


class AuditRef(Payload, frozen=True, kw_only=True):
    """Where the audit trail speaks of this result."""

    id: str
    timestamp: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    """Seconds since 1970 (UTC)."""
    hash: str
    """SHA-256 of the intent's bytes as they were received, in hexadecimal."""

    def __post_init__(self) -> None:
        if type(self.timestamp) is int and self.timestamp > 18446744073709551615:
            refuse_int("AuditRef", "timestamp", self.timestamp, 18446744073709551615)


class AuditEvent(Payload, frozen=True, kw_only=True):
    """One entry of the audit trail about an intent."""

    SPELLINGS: ClassVar[dict[str, dict[str, str]]] = {
        "result_status": {
            "vetted": "ok",
            "quarantined": "error",
            "expired": "denied",
        },
    }

    intent_id: IntentId
    if TYPE_CHECKING:
        result_status: Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"]
    else:
        result_status: Literal[
            "ok", "error", "denied", "timeout", "killed", "success", "failed", "vetted", "quarantined", "expired"
        ]
    """Admitted: ok; refused or expired: denied; quarantined: error. `policy_decisions` has what was
    decided, and why.
    """
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    executor_id: ExecutorId
    policy_decisions: list[PolicyDecision]
    security_context: SecurityContext
    resource_usage: ResourceUsage | None = None

    def __post_init__(self) -> None:
        respell(self)
        if not is_token(self.intent_id):
            refuse_token("smith.audit.execution.{intent_id}", "intent_id", self.intent_id, "", "AuditEvent")

    @classmethod
    def new(
        cls,
        *,
        intent_id: str,
        result_status: Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"],
        timestamp_ns: int | None = None,
        executor_id: str,
        policy_decisions: list[PolicyDecision],
        security_context: SecurityContext,
        resource_usage: ResourceUsage | None = None,
    ) -> AuditEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            intent_id=IntentId(intent_id),
            result_status=result_status,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            executor_id=ExecutorId(executor_id),
            policy_decisions=policy_decisions,
            security_context=security_context,
            resource_usage=resource_usage,
        )


class PolicyDecision(Payload, frozen=True, kw_only=True):
    """What one policy rule decided."""

    rule_name: str
    decision: Literal["allow", "deny", "transform"]
    reason: str


class SecurityContext(Payload, frozen=True, kw_only=True):
    """What an intent was confined by."""

    sandbox_mode: Literal["full", "demo", "unsafe"] | None = None
    user_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    mount_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    pid_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    net_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    cgroup_path: str | None = None
    landlock_enabled: bool
    seccomp_enabled: bool
    allowlist_hits: list[AllowlistHit] | None = None


class AllowlistHit(Payload, frozen=True, kw_only=True):
    """One use of a resource that an allowlist permits."""

    resource_type: str
    resource_id: str
    operation: str
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]


class ResourceUsage(Payload, frozen=True, kw_only=True):
    """What an execution used."""

    peak_memory_kb: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    cpu_time_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    wall_time_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    fd_count: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    disk_read_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    disk_write_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    network_tx_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    network_rx_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]

    def __post_init__(self) -> None:
        if type(self.disk_read_bytes) is int and self.disk_read_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "disk_read_bytes", self.disk_read_bytes, 18446744073709551615)
        if type(self.disk_write_bytes) is int and self.disk_write_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "disk_write_bytes", self.disk_write_bytes, 18446744073709551615)
        if type(self.network_tx_bytes) is int and self.network_tx_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "network_tx_bytes", self.network_tx_bytes, 18446744073709551615)
        if type(self.network_rx_bytes) is int and self.network_rx_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "network_rx_bytes", self.network_rx_bytes, 18446744073709551615)


class SecurityEvent(Payload, frozen=True, kw_only=True):
    """Something that concerns security, with or without an intent."""

    event_type: EventType
    severity: Literal["info", "warning", "critical"]
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    intent_id: IntentId | None = None
    detail: dict[str, Any]

    def __post_init__(self) -> None:
        if not is_token(self.event_type):
            refuse_token("smith.audit.security.{event_type}", "event_type", self.event_type, "", "SecurityEvent")

    @classmethod
    def new(
        cls,
        *,
        event_type: str,
        severity: Literal["info", "warning", "critical"],
        timestamp_ns: int | None = None,
        intent_id: str | None = None,
        detail: dict[str, Any],
    ) -> SecurityEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            event_type=EventType(event_type),
            severity=severity,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            intent_id=None if intent_id is None else IntentId(intent_id),
            detail=detail,
        )


class LifecycleEvent(Payload, frozen=True, kw_only=True):
    """An executor process changed its state."""

    executor_id: ExecutorId
    state: Literal["starting", "ready", "draining", "stopped"]
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    detail: str | None = None

    def __post_init__(self) -> None:
        if not is_token(self.executor_id):
            refuse_token("smith.events.executor.lifecycle.{executor_id}", "executor_id", self.executor_id, "", "LifecycleEvent")

    @classmethod
    def new(
        cls,
        *,
        executor_id: str,
        state: Literal["starting", "ready", "draining", "stopped"],
        timestamp_ns: int | None = None,
        detail: str | None = None,
    ) -> LifecycleEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            executor_id=ExecutorId(executor_id),
            state=state,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            detail=detail,
        )


class HealthEvent(Payload, frozen=True, kw_only=True):
    """How a service is."""

    service: Service
    healthy: bool
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    detail: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token("smith.events.health.{service}", "service", self.service, "", "HealthEvent")

    @classmethod
    def new(
        cls,
        *,
        service: str,
        healthy: bool,
        timestamp_ns: int | None = None,
        detail: dict[str, Any] | None = None,
    ) -> HealthEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            service=Service(service),
            healthy=healthy,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            detail=detail,
        )


class MetricsEvent(Payload, frozen=True, kw_only=True):
    """Figures of a service."""

    service: Service
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token("smith.events.metrics.{service}", "service", self.service, "", "MetricsEvent")

    @classmethod
    def new(
        cls,
        *,
        service: str,
        timestamp_ns: int | None = None,
        metrics: dict[str, float],
    ) -> MetricsEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            service=Service(service),
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            metrics=metrics,
        )


class LogEntry(Payload, frozen=True, kw_only=True):
    """One line of a service's log."""

    SPELLINGS: ClassVar[dict[str, dict[str, str]]] = {
        "level": {
            "trace": "TRACE",
            "debug": "DEBUG",
            "info": "INFO",
            "warn": "WARN",
            "error": "ERROR",
        },
    }

    timestamp: str
    """RFC 3339."""
    if TYPE_CHECKING:
        level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
    else:
        level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "trace", "debug", "info", "warn", "error"]
    """In upper case; the subject has it in lower case."""
    service: Service
    target: str
    message: str
    fields: dict[str, Any]
    span: LogSpan | None = None
    trace: LogTrace | None = None
    correlation_id: str
    node_id: str
    metadata: LogMetadata

    def __post_init__(self) -> None:
        respell(self)
        if not isinstance(self.level, str) or not self.level.isupper() or self.level.lower() not in LEVEL_VALUES:
            refuse_token("smith.logs.{log_service}.{level}", "level", self.level, ", ".join(sorted(LEVEL_VALUES)), "LogEntry")
        if self.service != "" and (not is_token(self.service)):
            refuse_token("smith.logs.errors.{service}", "service", self.service, "", "LogEntry")

    @classmethod
    def new(
        cls,
        *,
        timestamp: str | None = None,
        level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "trace", "debug", "info", "warn", "error"],
        service: str,
        target: str,
        message: str,
        fields: dict[str, Any] | None = None,
        span: LogSpan | None = None,
        trace: LogTrace | None = None,
        correlation_id: str,
        node_id: str,
        metadata: LogMetadata | None = None,
    ) -> LogEntry:
        """A new payload; fields that are not given are filled in."""
        level_: Any = level
        return cls(
            timestamp=now_rfc3339() if timestamp is None else timestamp,
            level=level_,
            service=Service(service),
            target=target,
            message=message,
            fields={} if fields is None else fields,
            span=span,
            trace=trace,
            correlation_id=correlation_id,
            node_id=node_id,
            metadata=LogMetadata() if metadata is None else metadata,
        )


class LogSpan(Payload, frozen=True, kw_only=True):
    """The span of a log entry."""

    id: str
    parent_id: str | None = None
    name: str
    fields: dict[str, Any]


class LogTrace(Payload, frozen=True, kw_only=True):
    """The trace of a log entry."""

    id: str
    context: dict[str, Any]


class LogMetadata(Payload, frozen=True, kw_only=True):
    """Where a log entry comes from."""

    file: str | None = None
    line: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    module_path: str | None = None
    thread_id: str | None = None
    performance_category: Any = None


class BenchmarkEvent(Payload, frozen=True, kw_only=True):
    """Something that happened in a benchmark run."""

    run_id: RunId
    task_id: TaskId
    step_id: StepId
    ts: str
    """RFC 3339."""
    policy_id: str
    cfg_hash: str
    env_hash: str
    seed: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    event_type: Any
    """`{kind: content}`; a newer publisher may send other kinds."""
    data: Any

    def __post_init__(self) -> None:
        if type(self.seed) is int and self.seed > 18446744073709551615:
            refuse_int("BenchmarkEvent", "seed", self.seed, 18446744073709551615)
        if self.run_id != "" and (not is_token(self.run_id)):
            refuse_token("smith.benchmark.runs.{run_id}", "run_id", self.run_id, "", "BenchmarkEvent")
        if self.step_id != "" and (not is_token(self.step_id)):
            refuse_token("smith.benchmark.steps.{run_id}.{step_id}", "step_id", self.step_id, "", "BenchmarkEvent")
        if self.task_id != "" and (not is_token(self.task_id)):
            refuse_token("smith.benchmark.task_features.{task_id}", "task_id", self.task_id, "", "BenchmarkEvent")

    @property
    def kind(
        self,
    ) -> (
        Literal[
            "RunStart",
            "RunStop",
            "Step",
            "ToolCall",
            "ContextDecision",
            "Failure",
            "OptimizerUpdate",
        ]
        | None
    ):
        """The tag of `event_type`; None if this contract does not know it."""
        return kind_of(
            self.event_type,
            (
                "RunStart",
                "RunStop",
                "Step",
                "ToolCall",
                "ContextDecision",
                "Failure",
                "OptimizerUpdate",
            ),
        )

    @classmethod
    def new(
        cls,
        *,
        run_id: str,
        task_id: str,
        step_id: str,
        ts: str | None = None,
        policy_id: str,
        cfg_hash: str,
        env_hash: str,
        seed: int,
        event_type: Any,
        data: Any,
    ) -> BenchmarkEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            run_id=RunId(run_id),
            task_id=TaskId(task_id),
            step_id=StepId(step_id),
            ts=now_rfc3339() if ts is None else ts,
            policy_id=policy_id,
            cfg_hash=cfg_hash,
            env_hash=env_hash,
            seed=seed,
            event_type=event_type,
            data=data,
        )


class PlatformEvent(Payload, frozen=True, kw_only=True):
    """Something that happened on the platform around Smith."""

    event: str
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    data: Any

    @classmethod
    def new(
        cls,
        *,
        event: str,
        timestamp_ns: int | None = None,
        data: Any,
    ) -> PlatformEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            event=event,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            data=data,
        )


Intent: TypeAlias = (
    FsReadV1Intent
    | FsWriteV1Intent
    | HttpFetchV1Intent
    | GitCloneV1Intent
    | ArchiveReadV1Intent
    | SqliteQueryV1Intent
    | BenchReportV1Intent
    | ShellExecV1Intent
)
"""A request to execute one capability."""
IntentT = TypeVar("IntentT", bound=Intent, default=Intent)
OneIntentT = TypeVar("OneIntentT", bound=Intent)
INTENT_CLASSES: Final[dict[str, Any]] = {
    "fs.read.v1": FsReadV1Intent,
    "fs.write.v1": FsWriteV1Intent,
    "http.fetch.v1": HttpFetchV1Intent,
    "git.clone.v1": GitCloneV1Intent,
    "archive.read.v1": ArchiveReadV1Intent,
    "sqlite.query.v1": SqliteQueryV1Intent,
    "bench.report.v1": BenchReportV1Intent,
    "shell.exec.v1": ShellExecV1Intent,
}
Capability: TypeAlias = (
    Cap[FsReadV1Intent]
    | Cap[FsWriteV1Intent]
    | Cap[HttpFetchV1Intent]
    | Cap[GitCloneV1Intent]
    | Cap[ArchiveReadV1Intent]
    | Cap[SqliteQueryV1Intent]
    | Cap[BenchReportV1Intent]
    | Cap[ShellExecV1Intent]
)
"""What an intent asks for; selects its payload."""
