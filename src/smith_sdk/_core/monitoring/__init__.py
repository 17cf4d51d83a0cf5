"""How the bus is, judged from what the server tells, and what is done about it.

`health`, `rules`, `alert_board` and the circuit breaker are pure: they judge the server's JSON,
values and the time, or what became of calls. `webhook` and `http_post` talk to other servers than
NATS. `gauges` reads what this process knows without asking. May import
`errors`, `options`, the contract, `display`, `_core.events` and `_core.jetstream`. `breaker` and
`outcomes` import nothing of JetStream, which uses them.
"""
