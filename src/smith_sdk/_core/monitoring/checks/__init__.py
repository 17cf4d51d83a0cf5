"""Checks of health, by what they are about: each is made from what the server or the process tells.

No I/O: the INFOs, errors and gauges are handed in. May import `_core.monitoring`, which imports
nothing of it, and what that may import.
"""
