"""Declared streams and consumers against the server's: the plan, its warnings, and applying it.

Imports `contract`, `errors` and `_core.jetstream`.
"""
