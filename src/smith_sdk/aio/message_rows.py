"""A message as a row of data, or of a table in a notebook: also one that does not decode."""

from __future__ import annotations

from typing import Any, Protocol

from ..contract import Contract
from ..errors import ContractError


class Facts(Protocol):
    """A message of a consumer or of a read. `_facts` are its place and times, by name."""

    @property
    def payload(self) -> Any: ...

    @property
    def raw(self) -> bytes: ...

    def to_dict(self) -> dict[str, Any]: ...

    def _facts(self) -> dict[str, Any]: ...


def plain_row(message: Facts) -> dict[str, Any]:
    """`message.to_dict()`, or `raw` and `error` in place of the payload."""
    try:
        return message.to_dict()
    except ContractError as error:
        return _undecoded(message, error)


def shown_row(message: Facts, contract: Contract) -> dict[str, object]:
    """What a table shows of it: the payload as an object, or `raw` and `error` in its place.

    Neither has the values of secret fields.
    """
    try:
        payload = message.payload
    except ContractError as error:
        return {**_undecoded(message, error), "raw": contract.without_secrets(message.raw)}
    return {**message._facts(), "payload": payload}


def _undecoded(message: Facts, error: ContractError) -> dict[str, Any]:
    return {**message._facts(), "raw": message.raw, "error": str(error)}
