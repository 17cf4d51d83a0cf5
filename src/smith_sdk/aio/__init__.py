"""The async face, written by hand. The blocking face in `smith_sdk.sync` is generated from the signatures here.

What the generator reads: an `async def` becomes a blocking call, one that returns an `asyncio.Future` a pipelined one, a `def` that
returns `Awaitable[None]` is handed over without waiting, a class with `_batch` becomes an iterator.
"""
