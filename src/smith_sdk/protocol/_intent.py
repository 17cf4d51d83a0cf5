# generated from subjects.toml by smith-codegen; do not edit
# fmt: off
# isort: skip_file
# ruff: noqa
# ruff: noqa: PGH004
# mypy: allow-any-decorated, allow-any-explicit, allow-any-expr
# mypy: disable-error-code="explicit-override, redundant-expr"
# pyright: reportCallInDefaultInitializer=false, reportImplicitOverride=false, reportImportCycles=false
# pyright: reportMissingSuperCall=false, reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false, reportUnusedFunction=false
"""The payload `Intent`."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Annotated as _Annotated,
    Any as _Any,
    ClassVar,
    Final as _Final,
    Never as _Never,
    Self as _Self,
    TypeAlias as _TypeAlias,
)

import msgspec as _msgspec
from typing_extensions import TypeVar as _TypeVar

from smith_sdk.contract import (
    Cap as _Cap,
    Payload as _Payload,
    is_token as _is_token,
    new_uuid4 as _new_uuid4,
    new_uuid7 as _new_uuid7,
    now_ns as _now_ns,
    refuse_int as _refuse_int,
    refuse_token as _refuse_token,
)
from smith_sdk.contract.generated import make_cap as _make_cap

from ._tokens import Domain, IntentId


class AnyIntent(_Payload, frozen=True, kw_only=True):
    """What each member of `Intent` is: for `TypeVar(..., bound=AnyIntent)`."""

    SELECTOR: ClassVar[_Cap[_Any]]

    if TYPE_CHECKING:
        id: IntentId
        domain: Domain
        created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
        ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
        nonce: str
        signer: str
        signature_b64: str
        metadata: dict[str, _Any]

        def __init__(self, *, only_members_of_the_family_can_be_made: _Never) -> None: ...

        @property
        def is_expired(self) -> bool: ...

    @property
    def capability(self) -> _Cap[_Self]:
        """The token that selects this payload in its subjects."""
        return self.SELECTOR


class FsReadV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of fs.read.v1."""

    path: str
    max_bytes: _Annotated[int, _msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})] | None = None
    follow_symlinks: bool | None = None

    def __post_init__(self) -> None:
        if type(self.max_bytes) is int and self.max_bytes > 18446744073709551615:
            _refuse_int("FsReadV1Params", "max_bytes", self.max_bytes, 18446744073709551615)


class FsReadV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="fs.read.v1"):
    """A request to execute one capability: fs.read.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[FsReadV1Intent]] = _make_cap("fs.read.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: FsReadV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "FsReadV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "FsReadV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: FsReadV1Params,
    ) -> FsReadV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class FsWriteV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of fs.write.v1."""

    path: str
    content: str
    append: bool | None = None
    create: bool | None = None


class FsWriteV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="fs.write.v1"):
    """A request to execute one capability: fs.write.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[FsWriteV1Intent]] = _make_cap("fs.write.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: FsWriteV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "FsWriteV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "FsWriteV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: FsWriteV1Params,
    ) -> FsWriteV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class HttpFetchV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of http.fetch.v1."""

    url: str
    method: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None
    timeout_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None


class HttpFetchV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="http.fetch.v1"):
    """A request to execute one capability: http.fetch.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[HttpFetchV1Intent]] = _make_cap("http.fetch.v1")
    ALIASES: ClassVar[tuple[str, ...]] = ("http_fetch",)
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: HttpFetchV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "HttpFetchV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "HttpFetchV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: HttpFetchV1Params,
    ) -> HttpFetchV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class GitCloneV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of git.clone.v1."""

    url: str
    dest: str | None = None
    branch: str | None = None
    depth: int | None = None


class GitCloneV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="git.clone.v1"):
    """A request to execute one capability: git.clone.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[GitCloneV1Intent]] = _make_cap("git.clone.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: GitCloneV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "GitCloneV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "GitCloneV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: GitCloneV1Params,
    ) -> GitCloneV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class ArchiveReadV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of archive.read.v1."""

    path: str
    extract_content: bool | None = None


class ArchiveReadV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="archive.read.v1"):
    """A request to execute one capability: archive.read.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[ArchiveReadV1Intent]] = _make_cap("archive.read.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: ArchiveReadV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "ArchiveReadV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "ArchiveReadV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: ArchiveReadV1Params,
    ) -> ArchiveReadV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class SqliteQueryV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of sqlite.query.v1."""

    database_path: str
    query: str
    params: list[_Any] | None = None
    max_rows: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None
    timeout_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None


class SqliteQueryV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="sqlite.query.v1"):
    """A request to execute one capability: sqlite.query.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[SqliteQueryV1Intent]] = _make_cap("sqlite.query.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: SqliteQueryV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "SqliteQueryV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "SqliteQueryV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: SqliteQueryV1Params,
    ) -> SqliteQueryV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class BenchReportV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of bench.report.v1."""

    benchmark_name: str
    metrics: dict[str, float]
    metadata: dict[str, _Any] | None = None
    retention_days: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None


class BenchReportV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="bench.report.v1"):
    """A request to execute one capability: bench.report.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[BenchReportV1Intent]] = _make_cap("bench.report.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: BenchReportV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "BenchReportV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "BenchReportV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: BenchReportV1Params,
    ) -> BenchReportV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


class ShellExecV1Params(_Payload, frozen=True, kw_only=True):
    """The parameters of shell.exec.v1."""

    command: str
    args: list[str] | None = None
    env: dict[str, str] | None = None
    cwd: str | None = None
    timeout_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None
    stdin: str | None = None


class ShellExecV1Intent(AnyIntent, frozen=True, kw_only=True, tag_field="capability", tag="shell.exec.v1"):
    """A request to execute one capability: shell.exec.v1."""

    ID_FIELD: ClassVar[str | None] = "id"
    SELECTOR: ClassVar[_Cap[ShellExecV1Intent]] = _make_cap("shell.exec.v1")
    MAX_ITEMS: ClassVar[int] = 20000

    id: IntentId
    domain: Domain
    created_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC). Only below 2^64 can it be signed."""
    ttl_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds after `created_at_ns` until the intent is expired."""
    nonce: str
    signer: str = ""
    """Base64 Ed25519 public key; empty: not signed."""
    signature_b64: str = ""
    """Base64 Ed25519 signature over the canonical JSON without this field; empty: not signed."""
    metadata: dict[str, _Any] = _msgspec.field(default_factory=dict)
    params: ShellExecV1Params

    def __post_init__(self) -> None:
        if not _is_token(self.domain):
            _refuse_token("smith.intents.vetted.{capability}.{domain}", "domain", self.domain, "", "ShellExecV1Intent")
        if not _is_token(self.id):
            _refuse_token("smith.results.{intent_id}", "id", self.id, "", "ShellExecV1Intent")

    @property
    def is_expired(self) -> bool:
        """Whether more than `ttl_ms` milliseconds have passed since `created_at_ns`, by the clock
        of this machine.
        """
        return _now_ns() > self.created_at_ns + self.ttl_ms * 1_000_000

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
        metadata: dict[str, _Any] | None = None,
        params: ShellExecV1Params,
    ) -> ShellExecV1Intent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            id=IntentId(_new_uuid7() if id is None else id),
            domain=Domain(domain),
            created_at_ns=_now_ns() if created_at_ns is None else created_at_ns,
            ttl_ms=ttl_ms,
            nonce=_new_uuid4() if nonce is None else nonce,
            signer=signer,
            signature_b64=signature_b64,
            metadata={} if metadata is None else metadata,
            params=params,
        )


Intent: _TypeAlias = (
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
IntentT = _TypeVar("IntentT", bound=AnyIntent, default=Intent)
OneIntentT = _TypeVar("OneIntentT", bound=AnyIntent)
EachIntentT = _TypeVar(
    "EachIntentT",
    FsReadV1Intent,
    FsWriteV1Intent,
    HttpFetchV1Intent,
    GitCloneV1Intent,
    ArchiveReadV1Intent,
    SqliteQueryV1Intent,
    BenchReportV1Intent,
    ShellExecV1Intent,
)
INTENT_CLASSES: _Final[dict[str, _Any]] = {
    "fs.read.v1": FsReadV1Intent,
    "fs.write.v1": FsWriteV1Intent,
    "http.fetch.v1": HttpFetchV1Intent,
    "git.clone.v1": GitCloneV1Intent,
    "archive.read.v1": ArchiveReadV1Intent,
    "sqlite.query.v1": SqliteQueryV1Intent,
    "bench.report.v1": BenchReportV1Intent,
    "shell.exec.v1": ShellExecV1Intent,
}
Capability: _TypeAlias = (
    _Cap[FsReadV1Intent]
    | _Cap[FsWriteV1Intent]
    | _Cap[HttpFetchV1Intent]
    | _Cap[GitCloneV1Intent]
    | _Cap[ArchiveReadV1Intent]
    | _Cap[SqliteQueryV1Intent]
    | _Cap[BenchReportV1Intent]
    | _Cap[ShellExecV1Intent]
)
"""What an intent asks for; selects its payload."""
