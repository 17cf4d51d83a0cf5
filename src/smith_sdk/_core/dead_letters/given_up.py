"""Whether the server has given a message up, by what the server itself says of its consumer.

An advisory can be forged, so it only says which message to ask about. Pure.
"""

# What the server (2.15) tells about a consumer is the number of its messages in flight
# (`num_ack_pending`) and two positions. A message is certainly not in flight if none is, or if it
# is at or below the ack floor. If it is still in its stream then, what follows depends on the
# stream:
#
# - A work queue deletes what is acknowledged or terminated, so this message was given up. So does a
#   stream with retention by interest, if no other consumer takes the message.
# - Otherwise an acknowledged message looks the same as one that was given up. Only a consumer that
#   gives up can have done so: its `max_deliver`, -1 in every declared consumer, is what the
#   advisory says; or it had one before, and counts more messages as redelivered than are in flight.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from ...contract import covers
from .advisories import Advisory

Answer = Literal["yes", "no", "unknown"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of a consumer."""

    filters: tuple[str, ...]
    max_deliver: int
    ack_floor: int
    delivered: int
    in_flight: int
    redelivered: int

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Progress:
        config = info["config"]
        one = config.get("filter_subject")
        return cls(
            filters=tuple(config.get("filter_subjects") or ([one] if one else ())),
            max_deliver=config.get("max_deliver", -1),
            ack_floor=info["ack_floor"]["stream_seq"],
            delivered=info["delivered"]["stream_seq"],
            in_flight=info["num_ack_pending"],
            redelivered=info["num_redelivered"],
        )

    def takes(self, subject: str) -> bool:
        """Whether a message on `subject` is delivered to it."""
        return not self.filters or any(covers(pattern, subject) for pattern in self.filters)

    def is_in_flight(self, seq: int) -> bool:
        """Whether that message may be in flight."""
        return bool(self.in_flight) and self.ack_floor < seq <= self.delivered


def is_given_up(advisory: Advisory, subject: str, progress: Progress, retention: str, others: Sequence[Progress]) -> Answer:
    """Whether the message on `subject`, which is in its stream, was given up as `advisory` says.

    `others` are the other consumers of the stream.
    """
    seq = advisory.stream_seq
    if not progress.takes(subject) or seq > progress.delivered:
        return "no"
    if progress.is_in_flight(seq):
        # It will be known once the messages in flight are settled.
        return "unknown" if progress.max_deliver > 0 else "no"
    if retention == "workqueue" or (retention == "interest" and not any(one.takes(subject) for one in others)):
        return "yes"
    may_have = advisory.deliveries == progress.max_deliver or progress.redelivered > progress.in_flight
    return "yes" if may_have else "no"
