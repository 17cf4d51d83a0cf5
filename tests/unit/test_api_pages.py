"""The pages of a listing, as a server of a cluster may cut them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smith_sdk._core.jetstream.api import JetStreamApi
from smith_sdk.errors import DeadlineExceeded


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
        found["consumers"] = [{"name": name, "config": {}} for name in page if name not in self._leaderless]
        missing = [name for name in page if name in self._leaderless]
        return {**found, "missing": missing} if missing else found


def listed(api: Paged) -> list[str]:
    return [one["name"] for one in asyncio.run(api.list_consumers("S")).found]


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


def test_what_is_missing_has_a_reason() -> None:
    class Offline(Paged):
        async def call(self, verb: str, body: Any = None, **_: Any) -> dict[str, Any]:
            page = await super().call(verb, body)
            placeholder = {"name": "", "config": {"durable_name": "b"}}
            return {**page, "consumers": [*page["consumers"], placeholder], "offline": {"d": "unsupported"}}

    listing = asyncio.run(Offline(["a", "b", "c"], {"b", "c"}, 256).list_consumers("S"))
    assert [one["name"] for one in listing.found] == ["a"]
    assert [one["config"]["durable_name"] for one in listing.offline] == ["b"]
    assert listing.missing == {
        "b": "all of its servers are offline",
        "c": "it has no leader that has answered within 4 s",
        "d": "unsupported",
    }


def test_a_listing_that_must_be_whole_names_what_is_missing() -> None:
    names = [f"c{number}" for number in range(9)]
    with pytest.raises(DeadlineExceeded, match=r"consumer c1: it has no leader .*c5.*; and 2 more of S$"):
        asyncio.run(Paged(names, set(names[1:8]), 256).consumers("S"))
