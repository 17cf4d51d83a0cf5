"""One connection to NATS: servers, credentials, the link, reconnecting, and request and reply.

Imports `errors`, `options`, `_core.events` and `_core.execution`. Only `link` knows
nats-py. Knows no JetStream.
"""
