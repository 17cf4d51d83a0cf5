"""`message.fence`: where there is one, and that a process gets it."""

from __future__ import annotations

from typing import Any

import pytest

from smith_sdk._core.connection.parser import RawMessage
from smith_sdk.aio.message import Message
from smith_sdk.aio.process_runner import _handle
from smith_sdk.errors import NoFence
from smith_sdk.topology import CONTRACT


def test_only_messages_of_a_sharded_worker_have_a_fence() -> None:
    message: Any = Message(RawMessage("smith.x", "", b""), None)  # type: ignore[arg-type]
    with pytest.raises(NoFence, match="no ShardedWorker"):
        _ = message.fence
    message._fence = 7
    assert message.fence == 7


@pytest.mark.parametrize("fence", [7, None])
def test_a_handler_in_a_process_has_the_fence(fence: int | None) -> None:
    def handler(message: Message[Any, Any]) -> int:
        return message.fence

    call = (0, None, fence, "smith.x", "", b"", None)
    if fence is None:
        with pytest.raises(NoFence):
            _handle(CONTRACT, None, (handler,), call)
    else:
        assert _handle(CONTRACT, None, (handler,), call) == 7
