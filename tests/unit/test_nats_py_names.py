"""The private names of nats-py that `_core/connection/link.py` uses: each must exist, and mean what
it did.

When one of these tests fails on a new nats-py, its message names the version and the place to look
at.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
from nats.aio.client import Client
from nats.protocol.command import sub_cmd, unsub_cmd

from smith_sdk._core.connection import link

VERSION: Final = f"nats-py {version('nats-py')}"

ATTRIBUTES: Final = {
    "_auth_configured": "Link sets it, since credentials come by callbacks that nats-py does not count",
    "_err": "why nats-py ended the connection: Link.watch and Link._close report it",
    "_flusher_task": "Link.watch and discard",
    "_max_payload": "the server's limit: Link.send_now",
    "_max_pending_size": "how many bytes may be unsent before a publish waits: Link.is_full",
    "_pending": "commands that are not written yet: Link._put, _write, unsent",
    "_pending_data_size": "their bytes: Link._put, _write",
    "_ping_interval_task": "Link.watch ends it: the answers to its pings would be taken for answers to ours",
    "_public_nkey": "Link sets it from credentials",
    "_reading_task": "Link.watch and discard",
    "_server_info": "the server's INFO, which Link replaces with a property that checks it",
    "_status": "Link.send_now asks for CONNECTED; Link._over and discard set it to CLOSED",
    "_transport": "Link._take_over, receive, _write and _socket",
}
"""Attributes of an instance that has not connected."""

OVERRIDDEN: Final = {
    "_close": "(self, status: 'int', do_cbs: 'bool' = True) -> 'None'",
    "_connect_command": "(self) -> 'bytes'",
    "_connect_to_server": "(self, s: 'Srv') -> 'None'",
    "_flusher": "(self) -> 'None'",
    "_process_info": "(self, info: 'Dict[str, Any]', initial_connection: 'bool' = False) -> 'None'",
    "_read_loop": "(self) -> 'None'",
}
"""Methods that we replace, with their signatures."""

OF_THE_TRANSPORT: Final = {"_buffer", "_io_reader"}
OURS: Final = {
    *vars(link.Link),
    *("_pings", "_greeting", "_last_sid", "_on_refused", "_account", "_loop", "_parser"),
    *("_is_stalled", "_is_flush_due", "_waiting_for_room", "_shared", "_replies"),
    *("_tls", "_on_lame_duck"),
} - {"_server_info"}


@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_an_attribute_exists(name: str) -> None:
    assert hasattr(Client(), name), f"{VERSION} has no Client.{name} any more; used in link.py: {ATTRIBUTES[name]}"


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_method_has_its_signature(name: str) -> None:
    method = getattr(Client, name, None)
    assert method is not None, f"{VERSION} has no Client.{name} any more, which link.py overrides"
    assert str(inspect.signature(method)) == OVERRIDDEN[name], (
        f"{VERSION} changed Client.{name}, which link.py overrides: compare the two"
    )
    assert inspect.iscoroutinefunction(method) == (name != "_connect_command")


def test_commands_are_written_as_the_protocol_has_them() -> None:
    assert sub_cmd("a.b", "", 7).split() == [b"SUB", b"a.b", b"7"], f"{VERSION} changed sub_cmd"
    assert unsub_cmd(7, 0).split() == [b"UNSUB", b"7"], f"{VERSION} changed unsub_cmd"


def test_nats_py_calls_what_we_replace() -> None:
    """An override that nats-py no longer calls would be dead code that nothing reports."""
    called = {node.attr for node in _attributes(Path(inspect.getsourcefile(Client) or ""))}
    assert called >= set(OVERRIDDEN), f"{VERSION} no longer calls {set(OVERRIDDEN) - called}"


def test_every_private_name_in_link_is_pinned_here() -> None:
    file = Path(link.__file__)
    used = {node.attr for node in _attributes(file) if node.attr.startswith("_") and not node.attr.startswith("__")}
    theirs = used - OURS
    assert theirs - OF_THE_TRANSPORT == {*ATTRIBUTES}, "pin each private name of nats-py here, and drop those unused"
    overridden = {
        name for name in vars(link.Link) if name.startswith("_") and not name.startswith("__") and hasattr(Client, name)
    }
    assert overridden == set(OVERRIDDEN)


async def test_a_transport_has_its_writer(nats_url: str) -> None:
    client = Client()
    await client.connect(nats_url)
    try:
        transport: Any = client._transport
        assert isinstance(transport._io_writer.transport, asyncio.Transport), f"{VERSION}: see Link._socket"
        assert isinstance(transport._io_reader._buffer, bytearray), f"{VERSION}, or this Python: see Link._take_over"
    finally:
        await client.close()


def _attributes(file: Path) -> list[ast.Attribute]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
