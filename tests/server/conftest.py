"""Buses for the tests of this directory: each has a nats-server of its own, which starts in some 30 ms."""

from __future__ import annotations

import pytest
from buses import Face


@pytest.fixture(params=["async", "blocking"])
def face(request: pytest.FixtureRequest) -> Face:
    return Face(request.param)
