"""Handlers for processes: at the top level of a module, as users have to write them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from opentelemetry import trace

from smith_sdk import Reject, RetryLater, result_of
from smith_sdk.protocol import IntentResult


def path_of(message: Any) -> str:
    return str(message.payload.params.path)


def in_a_process(message: Any) -> IntentResult | None:
    path = path_of(message)
    word, _, rest = path.partition(":")
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "exit":
        sys.exit(3)
    if word == "wait":
        Path(rest).write_text(str(os.getpid()))
        time.sleep(60)
    if word == "wait-once" and not (Path(rest).exists() and Path(rest).read_text()):
        Path(rest).write_text(str(os.getpid()))
        time.sleep(60)
    if word == "raise":
        raise {"value": ValueError, "odd": Odd}[rest](f"of {rest}")
    if word == "reject":
        raise Reject(rest)
    if word == "later" and message.metadata.num_delivered == 1:
        raise RetryLater(float(rest))
    if word == "verdict":
        {"ack": message.ack, "ack_sync": message.ack_sync}[rest]()
    assert message.headers == {"Nats-Msg-Id": f"{message.subject}:{message.payload.id}"}
    return result_of(message.payload, output={"pid": os.getpid(), "attempt": message.metadata.num_delivered})


def current_trace(message: Any) -> IntentResult:
    """Returns the current span of OpenTelemetry, by its ids."""
    span = trace.get_current_span().get_span_context()
    return result_of(message.payload, output={"trace": f"{span.trace_id:032x}", "span": f"{span.span_id:016x}"})


def needing_a_file(message: Any) -> None:
    """Its dependency is a file, which its path names."""
    if not Path(path_of(message).partition(":")[2]).exists():
        raise Unreachable("the file", hint="not there")


class Unreachable(ConnectionError):
    """Cannot be made of what pickle keeps of it."""

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(what, hint, "third")


class Odd(Exception):
    """Cannot be made of what pickle keeps of it."""

    def __init__(self, word: str, *, needed: str = "") -> None:
        super().__init__(word, needed, "third")


def missing_in_processes(message: Any) -> None:
    """Found here but not in a process, where the module that it claims to be in does not exist."""
