"""result_of: what a result says about the process that made it."""

from __future__ import annotations

import os
import time

from smith_sdk import result_of
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params


def test_a_result_says_what_its_process_has_used_by_now() -> None:
    intent = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/srv/a", max_bytes=1))
    first = result_of(intent).runner_meta
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    second = result_of(intent).runner_meta
    assert first.pid == second.pid == os.getpid()
    assert second.cpu_ms >= first.cpu_ms + 50
    assert second.max_rss_kb >= first.max_rss_kb >= 0
