"""Names of spans, attributes and metrics: those of the conventions for messaging systems that are
used here, and our own.

The conventions are at version 1.44, where they are still in development:
https://opentelemetry.io/docs/specs/semconv/messaging/. The package that has their names as
constants changes without notice, so the names stand here.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "smith_sdk"
"""The name of the instrumentation scope."""

# ---- attributes of the conventions

SYSTEM: Final = "messaging.system"
NATS: Final = "nats"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
TEMPLATE: Final = "messaging.destination.template"
"""The pattern of the subject in the contract. The subject itself is full of ids."""
SUBSCRIPTION: Final = "messaging.destination.subscription.name"
GROUP: Final = "messaging.consumer.group.name"
MESSAGE_ID: Final = "messaging.message.id"
BODY_SIZE: Final = "messaging.message.body.size"
CONVERSATION: Final = "messaging.message.conversation_id"
"""The id of the intent that is executed."""
BATCH: Final = "messaging.batch.message_count"
ADDRESS: Final = "server.address"
PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

# ---- our own

STREAM: Final = "smith.stream"
CONSUMER: Final = "smith.consumer"
SEQ: Final = "smith.seq"
ATTEMPT: Final = "smith.attempt"
VERDICT: Final = "smith.verdict"
"""What a worker has decided: "ack", "retry", "dead_letter" or "release"."""
ANSWER: Final = "smith.answer"
"""What is sent to the server: "ack", "nak" or "term"."""
CIRCUIT: Final = "smith.circuit"
STATE: Final = "smith.state"

REPLAY_CONTEXT: Final = "Smith-Replay-Context"
"""The header of a replayed message with the `traceparent` of the message that had failed."""

# ---- operations

CREATE: Final = "create"
SEND: Final = "send"
RECEIVE: Final = "receive"
PROCESS: Final = "process"
SETTLE: Final = "settle"
EXECUTE: Final = "execute"

# ---- metrics of the conventions

SENT_MESSAGES: Final = "messaging.client.sent.messages"
CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"
OPERATION_DURATION: Final = "messaging.client.operation.duration"
PROCESS_DURATION: Final = "messaging.process.duration"
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: bounds of the histograms, as the conventions have them."""

# ---- our own

SETTLED: Final = "smith.settled.messages"
ATTEMPTS: Final = "smith.attempts"
ATTEMPT_BOUNDS: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0)
DEAD_LETTERS: Final = "smith.dead_letters"
RECONNECTS: Final = "smith.connection.reconnects"
CONNECTION_UP: Final = "smith.connection.up"
WINDOW_MESSAGES: Final = "smith.window.messages"
WINDOW_SIZE: Final = "smith.window.size"
WORKER_SLOTS: Final = "smith.worker.slots"
WORKER_RUNNING: Final = "smith.worker.running"
WORKER_BUFFERED: Final = "smith.worker.buffered"
CONSUMER_PENDING: Final = "smith.consumer.pending"
CONSUMER_LAG: Final = "smith.consumer.lag"
CONSUMER_OLDEST: Final = "smith.consumer.oldest_age"
CIRCUIT_STATE: Final = "smith.circuit.state"
