"""One connection to NATS: servers, credentials, the link, reconnecting, and request and reply.

Imports `errors`, `options`, `_core.foreign_text`, `_core.events` and `_core.execution`. Only
`link` knows nats-py. Knows no JetStream.
"""
