"""Routing by domain: which domains are held at admission, had no executor, or are being moved.

Knows JetStream, plans of consumers and the bucket of switches; no face, and no name of Smith's.
"""
