"""Alerts: conditions and rules, who is told, and the check of a webhook's request.

    from smith_sdk import AlertMonitor, AlertRule, consumers
    from smith_sdk.alerts import oldest_above, stalled, to_log, to_webhook

    rules = [
        AlertRule(when=stalled(consumers.executor_http_fetch), severity="critical"),
        AlertRule(when=oldest_above(consumers.executor_http_fetch, 300), for_=60),
    ]
    notify = [to_log(), to_webhook("https://ops.example.com/smith", secret_file="webhook.key")]

Both faces use these. `AlertMonitor` has a twin in `smith_sdk.sync`.
"""

from __future__ import annotations

from ._core.monitoring.alerts import default_rules
from ._core.monitoring.conditions import (
    ack_pending_above,
    dead_letters_above,
    drifted,
    lag_above,
    oldest_above,
    redelivery_rate_above,
    replica_lag_above,
    stalled,
    utilisation_above,
)
from ._core.monitoring.rules import Condition
from ._core.monitoring.webhook import verify_webhook
from .aio.alert_notifiers import Notifier, to_health, to_log, to_webhook
from .aio.alerts import Alert, AlertMonitor, AlertRule

__all__ = [
    "Alert",
    "AlertMonitor",
    "AlertRule",
    "Condition",
    "Notifier",
    "ack_pending_above",
    "dead_letters_above",
    "default_rules",
    "drifted",
    "lag_above",
    "oldest_above",
    "redelivery_rate_above",
    "replica_lag_above",
    "stalled",
    "to_health",
    "to_log",
    "to_webhook",
    "utilisation_above",
    "verify_webhook",
]
