"""Which worker process pulls for which shard: the members in a bucket, and who is assigned what.

Advice, never safety: the server's pin says who gets messages, and a barrier keeps their order. A
view that is out of date costs time only. Beside that, which shards there are: the layout that the
bucket has once their number was changed. `assignment` is pure. May import `errors`, `options`, the
contract, `_core.codec`, `_core.foreign_text`, `_core.log_records` and `_core.jetstream`. Knows no
payloads, except for the keys that `placing` reads from them, and no workers.
"""
