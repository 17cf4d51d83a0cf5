"""A small HTTP server for probes, in a thread of its own, and what it needs to look at event loops.

It answers GET and HEAD, bounded in connections, bytes and time, whatever is sent to it. Knows
nothing of a bus. May import `errors` and `log_records`.
"""
