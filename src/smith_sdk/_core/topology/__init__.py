"""Declared streams and consumers against the server's: the plan, its warnings, and applying it.

Imports `contract`, `errors`, `options` and `_core.jetstream`.
"""
