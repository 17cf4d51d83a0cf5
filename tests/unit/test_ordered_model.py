"""Order and progress within keys, over random histories of faults; many more in tests/chaos.

What many histories have found is kept here as one history each.
"""

from __future__ import annotations

from shard_histories import Histories, run_histories


def test_order_and_progress_over_random_histories() -> None:
    run_histories(12, 30, derandomize=True)


def test_a_key_goes_on_after_a_deleted_message_though_the_latest_delivery_was_lost() -> None:
    """The lost one is deleted, too: what has arrived stays behind the server's count for good."""
    history = Histories()
    history.make(seed=0, max_ack_pending=16, room=8)
    history.pass_time(0.3)
    owner = history.processes[0]
    owner.is_linked = False
    history.publish(["b"], 0.05)
    owner.is_linked = True
    history.consumer.delete(7)
    first = next(item for item in owner.running if item.seq == 1)
    history.loop.call_soon(owner.end, first, 0.0)
    history.wait(0.0)
    history.consumer.delete(1)
    history.teardown()  # 4 has the same key


def test_an_ack_that_arrives_after_its_process_was_stopped_is_of_a_message_that_had_run() -> None:
    """Else the model has the successor rightly skip a message whose handler ends much later."""
    history = Histories()
    history.make(seed=1878844, max_ack_pending=16, room=1)
    for index in (0, 0, 1, 1):
        history.stop_and_resume(index=index, seconds=20.0)
    history.teardown()
