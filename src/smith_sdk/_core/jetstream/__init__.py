"""JetStream over one connection: the API, the ack window, the pull loop, reading streams.

Imports `contract`, `errors`, `options`, `_core.events` and `_core.connection`. Moves bytes; knows
no payload types.
"""
