"""The pages of a listing, as a server of a cluster may cut them."""

from __future__ import annotations

import asyncio
from typing import Any

from smith_sdk._core.jetstream.api import JetStreamApi


class Paged(JetStreamApi):
    """Answers a listing of `names` in pages of `limit`; `leaderless` ones are left out."""

    def __init__(self, names: list[str], leaderless: set[str], limit: int) -> None:
        self._names = names
        self._leaderless = leaderless
        self._limit = limit
        self.requests = 0

    async def call(self, verb: str, body: Any = None, **_: Any) -> dict[str, Any]:
        self.requests += 1
        page = self._names[body["offset"] : body["offset"] + self._limit]
        found: dict[str, Any] = {"total": len(self._names), "offset": body["offset"], "limit": self._limit}
        found["consumers"] = [{"name": name} for name in page if name not in self._leaderless]
        missing = [name for name in page if name in self._leaderless]
        return {**found, "missing": missing} if missing else found


def listed(api: Paged) -> list[str]:
    return [one["name"] for one in asyncio.run(api.consumers("S"))]


def test_what_has_no_leader_is_left_out_and_nothing_is_listed_twice() -> None:
    names = [f"c{number}" for number in range(600)]
    leaderless = {"c0", "c255", "c256", "c599"}
    api = Paged(names, leaderless, 256)
    assert listed(api) == [name for name in names if name not in leaderless]
    assert api.requests == 3


def test_a_page_without_any_leader_does_not_end_the_listing() -> None:
    names = [f"c{number}" for number in range(6)]
    assert listed(Paged(names, {"c0", "c1"}, 2)) == ["c2", "c3", "c4", "c5"]


def test_an_empty_page_ends_a_listing_that_has_no_end() -> None:
    class Endless(Paged):
        async def call(self, verb: str, body: Any = None, **_: Any) -> dict[str, Any]:
            return {**await super().call(verb, body), "total": 2**62}

    api = Endless(["a", "b"], set(), 2)
    assert listed(api) == ["a", "b"]
    assert api.requests == 2
