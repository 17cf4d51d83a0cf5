"""What a span or metric says about where a message is: the pattern of its subject, never the
subject; the server; stream and consumer."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from .._core.jetstream.delivery import consumer_of
from ..contract import Contract
from . import _names

UNKNOWN: Final = "(unknown)"
"""The destination of a message whose subject is not in the contract, nor its stream."""
_MOST_SERVERS: Final = 64

Attributes = dict[str, str | int]


class Destinations:
    """Looks up the subjects of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._patterns: dict[int, str] = {}
        """Patterns by the leaf of the contract's trie, whose class is imported on first use."""
        self._streams = {spec.name: spec.subjects[0] for spec in contract.streams if spec.subjects}
        self._servers: dict[str, Attributes] = {}

    def pattern(self, subject: str) -> str | None:
        """The pattern of `subject` in the contract; None if that has no such subject."""
        node: Any = self._contract.trie
        for token in subject.split("."):
            node = node.get(token) or node.get("*")
            if node is None:
                return None
        leaf = node.get(None)
        if leaf is None:
            return None
        found = self._patterns.get(id(leaf))
        if found is None:
            found = self._patterns[id(leaf)] = leaf.cls.PATTERN
        return found

    def template(self, subject: str, stream: str | None) -> str:
        """`pattern`, or else the first one that `stream` stores."""
        found = self.pattern(subject)
        if found is not None:
            return found
        return UNKNOWN if stream is None else self._streams.get(stream, UNKNOWN)

    def server(self, url: str) -> Attributes:
        """The address and port in the URL of the connected server; none while there is no link."""
        found = self._servers.get(url)
        if found is None:
            if len(self._servers) >= _MOST_SERVERS:
                self._servers.clear()
            found = self._servers[url] = _address(url)
        return found


def _address(url: str) -> Attributes:
    if "," in url:  # those that it tries
        return {}
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if not host:
        return {}
    return {_names.ADDRESS: host, **({} if port is None else {_names.PORT: port})}


def consumer_attributes(place: tuple[str, str] | None) -> Attributes:
    """Of messages from the stream and consumer `place`; none for core NATS."""
    if place is None:
        return {}
    stream, consumer = place
    return {
        _names.STREAM: stream,
        _names.GROUP: consumer,
        _names.SUBSCRIPTION: f"{stream}.{consumer}",
    }


def place_of(reply: str) -> tuple[str, str] | None:
    """The stream and consumer of a delivered message."""
    return consumer_of(reply)
