"""What has become of a bulk, as values."""

from __future__ import annotations

from typing import Literal

import msgspec

BulkMode = Literal["auto", "window", "atomic", "fast"]
"""How a bulk is to be published."""
BulkWay = Literal["window", "atomic", "fast"]
"""How it was published."""


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk of which every message is stored.

    - `stream` (str) has it, and `last_seq` (int) is the sequence of the last message that the
      server told; 0 if it stored none.
    - `mode`: how it was published: "window", "atomic" or "fast". `reason` (str): why so.
    - `sent` (int): its messages. `stored` (int): those that the stream has stored now.
      `duplicates` (int): the others, which it had before under the same ids.
    - `is_exact` (bool): whether these two are exact. Of fast ingest with ids the server does not
      tell the duplicates: there are at least `duplicates`, more if others publish to the stream
      at the same time, and at most `stored` are new.
    - `in_outbox` (int): messages in the local outbox, with `when_down="store"`; not in `stored`.
    """

    stream: str
    mode: BulkWay
    reason: str
    sent: int
    stored: int
    duplicates: int
    is_exact: bool
    last_seq: int
    in_outbox: int = 0


class Told(msgspec.Struct):
    """What is known of the messages of a bulk so far; those of several ways add up."""

    stored: int = 0
    """Messages that are in the stream, duplicates among them."""
    duplicates: int = 0
    in_outbox: int = 0
    last_seq: int = 0
    is_exact: bool = True
