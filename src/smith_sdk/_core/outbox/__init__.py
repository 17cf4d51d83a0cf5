"""The outbox: messages kept in a local SQLite file while they cannot be published.

The file, the thread that commits to it, and what sends its messages in order. May import `errors`,
`options`, `display`, `_core.foreign_text`, `_core.log_records`, `_core.execution`,
`_core.connection` and `_core.jetstream`. Moves bytes; knows no payload types. `file` alone knows
SQLite, and a bus without an outbox imports `records` only.
"""
