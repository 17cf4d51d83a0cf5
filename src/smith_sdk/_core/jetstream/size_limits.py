"""How large a message may be: by the connected server, and by the stream that is to store it."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from ..connection.headers import write as write_headers
from .api_errors import over_stream_limit, payload_too_large
from .publish_request import PublishRequest


class SizeLimits:
    """Limits in bytes of a message, headers included.

    `max_sizes` has those of the streams that have one. A server's is known while `is_connected`;
    it may be another one's next time, and a message may wait for that.
    """

    def __init__(self, max_sizes: Mapping[str | None, int]) -> None:
        self._max_sizes = max_sizes
        self._lowest = min(max_sizes.values(), default=inf)
        self.is_connected = False
        self.server = 0
        """The limit of the latest connected server."""
        self.always: float = 0
        """No stream, nor that server, refuses a message of up to that size: one comparison for
        nearly all of them."""

    def set_server(self, limit: int) -> None:
        """The connected server has that limit."""
        self.server = limit
        self.always = min(self._lowest, limit)

    def of(self, stream: str) -> float:
        """The largest message that is sent to `stream`."""
        return min(self.server, self._max_sizes.get(stream, inf))

    def size_of(self, request: PublishRequest) -> int:
        """Bytes of `request` as sent, headers included, but not its subject.

        Raises `OptionsError` for an invalid message id or header, `PayloadTooLarge`.
        """
        size = len(request.data) + len(write_headers(request.msg_id, request.headers))
        self.check(request, size)
        return size

    def check(self, request: PublishRequest, size: int) -> None:
        """Raise `PayloadTooLarge` for a `request` of `size` bytes that is too large."""
        limit = self._max_sizes.get(request.stream, inf)
        if size > limit:
            raise over_stream_limit(request, size, int(limit))
        if size > self.server and self.is_connected:
            raise payload_too_large(request, size, self.server)
