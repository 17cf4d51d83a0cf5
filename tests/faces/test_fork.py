"""What a forked child may do with its parent's bus (nothing), and what it cannot do to it
(anything)."""

from __future__ import annotations

from collections.abc import Callable

from faces.children import ChildProcess

Run = Callable[..., ChildProcess]


def test_calls_in_a_forked_child_raise_at_once_and_the_parent_goes_on(url: str, run: Run) -> None:
    body = """
        with SmithBus(url) as bus:
            messages = bus.consumer(consumers.admission).messages()
            intent = new_intent()
            bus.publish(subjects.intents.raw.of(intent), intent)
            message = next(messages)
            child = os.fork()
            if not child:
                calls = (
                    lambda: bus.publish(subject, event), lambda: bus.submit(subject, event), bus.connect, message.ack,
                    lambda: [next(messages) for _ in range(10)], lambda: bus.consumer(consumers.admission).fetch(1), bus.streams.info,
                )
                for call in calls:
                    began = time.monotonic()
                    try:
                        call()
                    except BlockingCallError as error:
                        assert str(os.getpid()) in str(error) and str(os.getppid()) in str(error)
                        assert time.monotonic() - began < 5
                        say("told")
                bus.close()  # nothing of the child's is to be closed
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            message.ack_sync()
            say("parent", bus.publish(subject, event).stream)
    """
    assert run(body, url).ends_well() == ["told"] * 7 + ["parent SYSTEM_EVENTS"]


def test_a_child_that_exits_leaves_the_connection_and_the_hooks_to_its_parent(url: str, run: Run) -> None:
    body = """
        import atexit, gc
        atexit.register(lambda: say("hook of", "parent" if os.getpid() == parent else "child"))
        parent = os.getpid()
        bus = SmithBus(url)
        bus.connect()
        futures = [bus.submit(subject, event) for _ in range(2000)]
        for _ in range(3):
            if not os.fork():
                if _ == 1:
                    del bus, futures
                    gc.collect()
                if _ == 2:
                    with bus:
                        pass
                sys.exit(0)  # the ordinary way: exit hooks, collection of garbage
        children = [os.wait()[1] for _ in range(3)]
        say(sorted(children)[:2], sum(future.result(10).stream == "SYSTEM_EVENTS" for future in futures))
        intents = [new_intent() for _ in range(100)]
        bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
        say(len(bus.consumer(consumers.admission).fetch(100, timeout=10)))
        bus.close()
    """
    child = run(body, url)
    assert child.status() == 0, child.err
    out = child.out
    assert sorted(out[:3]) == ["hook of child"] * 3
    assert out[3:] == ["[0, 0] 2000", "100", "hook of parent"]
    assert "BlockingCallError" in child.err  # of the one that entered the bus again
    assert child.err.count("Traceback") == 1


def test_a_child_of_the_owner_of_an_embedded_server_leaves_it_running(run: Run) -> None:
    body = """
        with SmithBus.embedded() as bus:
            if not os.fork():
                sys.exit(0)
            assert os.wait()[1] == 0
            say(bus.publish(subject, event).stream)
    """
    assert run(body, "-").ends_well() == ["SYSTEM_EVENTS"]


def test_a_bus_that_is_not_connected_yet_may_be_connected_in_the_child(url: str, run: Run) -> None:
    body = """
        bus = SmithBus(url)  # as a server that forks its workers has it, in a module
        for _ in range(2):
            if not os.fork():
                with bus:
                    say(bus.publish(subject, event).stream)
                sys.exit(0)
        assert [os.wait()[1], os.wait()[1]] == [0, 0]
        with bus:
            say("parent", bus.publish(subject, event).stream)
    """
    assert run(body, url).ends_well() == ["SYSTEM_EVENTS"] * 2 + ["parent SYSTEM_EVENTS"]


def test_a_child_may_have_a_bus_of_its_own_beside_its_parent_s(url: str, run: Run) -> None:
    body = """
        with SmithBus(url) as bus:
            child = os.fork()
            if not child:
                with SmithBus(url) as own:
                    say("child", own.publish(subject, event).stream)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            say("parent", bus.publish(subject, event).stream)
    """
    assert run(body, url).ends_well() == ["child SYSTEM_EVENTS", "parent SYSTEM_EVENTS"]
