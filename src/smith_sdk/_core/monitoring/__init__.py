"""How the bus is, judged from what the server tells: pure functions from its JSON to a `Check`.

No I/O. May import `errors`, `options`, the contract, `display` and `_core.jetstream`.
"""
