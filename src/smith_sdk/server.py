"""The former import path of `smith_sdk.embedded`, kept for code that uses it."""

from .embedded import EmbeddedServer, find_nats_server

__all__ = ["EmbeddedServer", "find_nats_server"]
