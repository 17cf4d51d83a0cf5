"""Dead letters as bytes: their format, and selecting, replaying and auditing them.

Imports `contract`, `errors`, `_core.connection` and `_core.jetstream`.
"""
