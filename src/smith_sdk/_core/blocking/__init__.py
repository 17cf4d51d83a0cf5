"""The blocking face's machinery: an event loop in a thread, and the ways into it.

Imports `errors`, `options` and `execution/`. Knows no NATS.
"""
