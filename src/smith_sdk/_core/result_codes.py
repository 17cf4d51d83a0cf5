"""The error codes of results that the SDK publishes itself: part of the contract with callers."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ResultCode"]


class ResultCode(StrEnum):
    """`error.code` of the results that admission and workers publish on their own account.

    A handler's own results may have any code.
    """

    POLICY_DENIED = "POLICY_DENIED"
    """Admission's policy returned `Deny`. Status "denied"."""
    INTENT_EXPIRED = "INTENT_EXPIRED"
    """The intent was older than its `ttl_ms` when admission read it. Status "denied"."""
    CREATED_IN_FUTURE = "CREATED_IN_FUTURE"
    """The intent's `created_at_ns` is further ahead than clocks may differ. Status "denied"."""
    UNSIGNED = "UNSIGNED"
    """The intent has no signature, and `Trust` requires one. Status "denied"."""
    SIGNER_UNKNOWN = "SIGNER_UNKNOWN"
    """The intent's signer is not among the keys that `Trust` accepts. Status "denied"."""
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    """The intent's signature does not match its bytes. Status "denied"."""
    REPLAYED = "REPLAYED"
    """An intent with this signer and nonce was let through before. Status "denied"."""
    NO_EXECUTOR = "NO_EXECUTOR"
    """No consumer receives intents of this capability and domain. Status "denied"."""
    INVALID_SHARD_KEY = "INVALID_SHARD_KEY"
    """The key that assigns the intent to a shard is not a str of 1 to 256 bytes. Status "denied".
    """
    QUARANTINED = "QUARANTINED"
    """Admission keeps the intent for review: the policy returned `Quarantine`, or it is not a valid
    intent. Status "denied"."""
    ADMISSION_FAILED = "ADMISSION_FAILED"
    """Admission gave the intent up, such as after a policy that raises. Status "error"."""
    HANDLER_FAILED = "HANDLER_FAILED"
    """The last attempt raised an error, or its result could not be published. Status "error"."""
    REJECTED = "REJECTED"
    """The handler raised `Reject` or terminated its message, or the worker has no handler for the
    intent. Status "error"."""
    HANDLER_TIMEOUT = "HANDLER_TIMEOUT"
    """The last attempt exceeded the worker's `timeout`. Status "timeout"."""
    HANDLER_DIED = "HANDLER_DIED"
    """The process that ran the last attempt ended, or earlier deliveries did not survive the intent
    (a poison message). Status "killed"."""
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    """The result, or what the handler published, is over a limit: see `PayloadTooLarge`. Status
    "error"."""
    INTENT_INVALID = "INTENT_INVALID"
    """The worker could not decode the intent, or does not know its subject. Status "error"."""
