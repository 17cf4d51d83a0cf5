"""How the bus is, judged from what the server tells: pure functions from its JSON to a `Check`; and
the circuit breaker, judged from what became of calls.

No I/O. May import `errors`, `options`, the contract, `display`, `_core.events` and
`_core.jetstream`. `breaker` and `outcomes` import nothing of JetStream, which uses them.
"""
