"""NATS micro-services (ADR-32): the answers that make a worker show up in `nats micro`, and asking
for the answers of all.

Imports `errors`, `_core.foreign_text`, `_core.log_records`, `_core.execution` and
`_core.connection`. Knows neither JetStream nor workers: what a service reports is handed in.
"""
