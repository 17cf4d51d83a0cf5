"""A reader's place in the priority group of a consumer. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PIN_HEADER: Final = "Nats-Pin-Id"
"""The header of a message of a pinned consumer: the id of the reader that the server has pinned."""


class PriorityGroup:
    """A reader's place in a priority group.

    `id` is what the server gave it (policy "pinned_client"), empty without one.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self.id = ""

    def request(self) -> dict[str, str]:
        """The fields of a pull. Without the id, the server takes it for another reader's."""
        return {"group": self.group, "id": self.id} if self.id else {"group": self.group}

    def arrived(self, headers: Mapping[str, str] | None) -> bool:
        """A message has arrived. Whether it is to be handed out."""
        self.id = headers.get(PIN_HEADER, "") if headers else ""
        return True

    def refused(self) -> None:
        """The server has pinned another reader, or the consumer is another one: the id is void."""
        self.id = ""
