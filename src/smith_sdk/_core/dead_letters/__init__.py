"""Dead letters as bytes: their format, and selecting, replaying and auditing them.

Imports `contract`, `errors` and `_core.jetstream`.
"""
