"""What operators' own tools read: a dashboard for Grafana, alert rules for Prometheus, scalers for
KEDA. Made from a contract and the names of the metrics, without I/O.

May import `errors`, `contract` and `_core.monitoring`.
"""
