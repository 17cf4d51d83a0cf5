"""The code and the contract do not match."""

from __future__ import annotations

from ._base import SmithError


class ContractError(SmithError):
    """The running code and the contract do not match."""


class ContractVersionError(ContractError):
    """A generated package was made for another runtime ABI, or its registry is broken.

    Generate it again with the `smith-codegen` of the installed release.
    """


class InvalidToken(ContractError, ValueError):
    """A value that NATS cannot carry as a token of a subject, or that the contract does not allow.

    Attributes: `pattern` (str), the subject's pattern; `token` (str), the placeholder's name;
    `value`, as given.
    """

    def __init__(self, message: str, *, pattern: str, token: str, value: object) -> None:
        super().__init__(message)
        self.pattern = pattern
        self.token = token
        self.value = value


class UnknownSubject(ContractError, ValueError):
    """No pattern of the contract matches `subject` (str)."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class SubjectMismatch(ContractError, TypeError):
    """The object that was published or subscribed to is not a subject of the bus's contract.

    Also raised for a subject of the wrong kind: `publish` needs one that a stream keeps, `emit` one
    that no stream keeps.
    """


class PayloadMismatch(ContractError, TypeError):
    """The payload is not what `subject` (str) carries, so that readers could not decode it.

    It is of another class, or a field has a value of another type, outside its bounds or its closed
    set, or one that JSON cannot represent, such as NaN. `field` (str) is that field, such as
    "params.path"; "" if it is the whole payload, or not known.
    """

    def __init__(self, message: str, *, subject: str, field: str = "") -> None:
        super().__init__(message)
        self.subject = subject
        self.field = field


class InvalidShardKey(ContractError, ValueError):
    """The key of a payload that belongs to a shard is not a str of 1 to 256 bytes."""


class PayloadDecodeError(ContractError, ValueError):
    """The bytes received on `subject` (str) are not a valid payload; `raw` (bytes) holds them.

    The message says what is wrong, and where in the JSON.
    """

    def __init__(self, message: str, *, subject: str, raw: bytes) -> None:
        super().__init__(message)
        self.subject = subject
        self.raw = raw


class UnknownValue(PayloadDecodeError):
    """The payload has a value of a closed set that this contract does not know.

    A newer contract may know it: publishers that were deployed before their readers send such
    messages. A worker therefore retries them before it dead-letters them.
    """
