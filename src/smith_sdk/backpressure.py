"""What rules of back pressure are made of: conditions, and actions.

    from smith_sdk import BackPressure, Rule, consumers
    from smith_sdk.backpressure import lag_above, quarantine_new_intents, utilisation_above

    rules = [
        Rule(
            when=lag_above(consumers.executor_http_fetch, 10_000, clear_below=2_000)
            | utilisation_above("SDLC_RAW", 0.8),
            do=[quarantine_new_intents()],
        )
    ]

Both faces use these. `ActiveRules` and `BackPressure` have a twin in `smith_sdk.sync`.
"""

from __future__ import annotations

from ._core.events import RuleChanged
from ._core.monitoring.conditions import (
    ack_pending_above,
    lag_above,
    oldest_above,
    redelivery_rate_above,
    replica_lag_above,
    utilisation_above,
)
from ._core.monitoring.rules import Condition
from .aio.backpressure import ActiveRule, ActiveRules, BackPressure, Rule
from .aio.pressure_rules import Action, call, limit, pause, quarantine_new_intents, release_quarantined, slow_down

__all__ = [
    "Action",
    "ActiveRule",
    "ActiveRules",
    "BackPressure",
    "Condition",
    "Rule",
    "RuleChanged",
    "ack_pending_above",
    "call",
    "lag_above",
    "limit",
    "oldest_above",
    "pause",
    "quarantine_new_intents",
    "redelivery_rate_above",
    "release_quarantined",
    "replica_lag_above",
    "slow_down",
    "utilisation_above",
]
