"""Dead letters: their format, where they are stored, choosing, replaying and auditing them.

Also the marker of an isolated attempt, which is stored beside them. May import `errors`, `options`,
the contract, `_core.connection`, `_core.jetstream`, `_core.log_records`; nothing here knows
messages of a face.
"""
