"""Declared streams and consumers: what the server has, the plan, its warnings, and carrying it out.

May import `errors`, `options`, the contract, `_core.jetstream` and `_core.sharding`.
"""
