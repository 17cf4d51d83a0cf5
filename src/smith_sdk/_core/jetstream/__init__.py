"""JetStream over one connection: the API, the ack window, the pull loop, reading streams.

Imports `contract`, `errors`, `options` and `_core.connection`. Moves bytes; knows no payload types.
"""
