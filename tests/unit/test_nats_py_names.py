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
from nats.protocol.command import hpub_cmd, pub_cmd, sub_cmd, unsub_cmd
from nats.protocol.parser import Parser

from smith_sdk._core.connection import link

VERSION: Final = f"nats-py {version('nats-py')}"

ATTRIBUTES: Final = {
    "_auth_configured": "LinkOpener.open sets it, since credentials come by callbacks that nats-py does not count",
    "_err": "why nats-py ended the connection: Link.watch and Link._close report it",
    "_flush_queue": "futures that nats-py's flusher resolves once it has written: Link.send, _send_command, _flusher, discard",
    "_flusher_task": "Link.watch and discard",
    "_max_payload": "the server's limit: Link.send",
    "_max_pending_size": "how many bytes may be unsent before a publish waits: Link._send_command",
    "_pending": "commands that are not written yet: Link._send_command, _write, settle, unsent",
    "_pending_data_size": "their bytes: Link._send_command, _write",
    "_ping_interval_task": "Link.watch ends it: the answers to its pings would be taken for answers to ours",
    "_ps": "the parser, which Link.__init__ replaces with ours",
    "_public_nkey": "LinkOpener.open sets it from credentials",
    "_reading_task": "Link.watch and discard",
    "_server_info": "the server's INFO, which Link replaces with a property that checks it",
    "_status": "Link._close and discard set it to CLOSED",
    "_transport": "Link._write and _socket",
}
"""Attributes of an instance that has not connected."""

METHODS: Final = {
    "_flush_pending": "(self, force_flush: 'bool' = False) -> 'Any'",
    "_process_err": "(self, err_msg: 'str') -> 'None'",
    "_process_op_err": "(self, e: 'Exception') -> 'None'",
    "_process_ping": "(self) -> 'None'",
}
"""Methods that we call, with their signatures."""

OVERRIDDEN: Final = {
    "_close": "(self, status: 'int', do_cbs: 'bool' = True) -> 'None'",
    "_connect_command": "(self) -> 'bytes'",
    "_connect_to_server": "(self, s: 'Srv') -> 'None'",
    "_flusher": "(self) -> 'None'",
    "_process_info": "(self, info: 'Dict[str, Any]', initial_connection: 'bool' = False) -> 'None'",
    "_send_command": "(self, cmd: 'bytes', priority: 'bool' = False) -> 'None'",
}
"""Methods that we replace, with their signatures."""

OF_THE_TRANSPORT: Final = {"_io_writer"}
OURS: Final = {
    *vars(link.Link),
    *("_pings", "_greeting", "_end", "_last_sid", "_on_refused", "_account"),
    *("_auth", "_tls", "_tls_first", "_name", "_on_lame_duck"),
} - {"_server_info"}


@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_an_attribute_exists(name: str) -> None:
    assert hasattr(Client(), name), f"{VERSION} has no Client.{name} any more; used in link.py: {ATTRIBUTES[name]}"


@pytest.mark.parametrize("name", [*METHODS, *OVERRIDDEN])
def test_a_method_has_its_signature(name: str) -> None:
    what = "calls" if name in METHODS else "overrides"
    method = getattr(Client, name, None)
    assert method is not None, f"{VERSION} has no Client.{name} any more, which link.py {what}"
    expected = {**METHODS, **OVERRIDDEN}[name]
    assert str(inspect.signature(method)) == expected, f"{VERSION} changed Client.{name}, which link.py {what}: compare the two"
    assert inspect.iscoroutinefunction(method) == (name != "_connect_command")


def test_the_parser_is_called_as_ours_is() -> None:
    theirs: Any = Parser
    assert str(inspect.signature(theirs.parse)) == "(self, data: 'bytes' = b'')", f"{VERSION} changed Parser.parse"
    assert inspect.iscoroutinefunction(theirs.parse)
    assert str(inspect.signature(theirs.reset)) in ("(self)", "(self) -> 'None'"), f"{VERSION} changed Parser.reset"
    used = {node.attr for node in _attributes(Path(inspect.getsourcefile(Client) or "")) if _is_parser(node.value)}
    assert used == {"parse", "reset"}, f"{VERSION} uses more of its parser than _core/connection/parser.py has: {used}"


def test_commands_are_written_as_the_protocol_has_them() -> None:
    assert sub_cmd("a.b", "", 7).split() == [b"SUB", b"a.b", b"7"], f"{VERSION} changed sub_cmd"
    assert unsub_cmd(7, 0).split() == [b"UNSUB", b"7"], f"{VERSION} changed unsub_cmd"
    assert pub_cmd("a.b", "r", b"xy") == b"PUB a.b r 2\r\nxy\r\n", f"{VERSION} changed pub_cmd"
    assert pub_cmd("a.b", "", b"xy").split() == [b"PUB", b"a.b", b"2", b"xy"], f"{VERSION} changed pub_cmd"
    assert hpub_cmd("a.b", "r", b"H\r\n\r\n", b"xy") == b"HPUB a.b r 5 7\r\nH\r\n\r\nxy\r\n", f"{VERSION} changed hpub_cmd"


def test_nats_py_calls_what_we_replace() -> None:
    """An override that nats-py no longer calls would be dead code that nothing reports."""
    called = {node.attr for node in _attributes(Path(inspect.getsourcefile(Client) or ""))}
    assert called >= set(OVERRIDDEN), f"{VERSION} no longer calls {set(OVERRIDDEN) - called}"


def test_every_private_name_in_link_is_pinned_here() -> None:
    file = Path(link.__file__)
    used = {node.attr for node in _attributes(file) if node.attr.startswith("_") and not node.attr.startswith("__")}
    theirs = used - OURS
    assert theirs - OF_THE_TRANSPORT == {*ATTRIBUTES, *METHODS}, "pin each private name of nats-py here, and drop those unused"
    overridden = {
        name for name in vars(link.Link) if name.startswith("_") and not name.startswith("__") and hasattr(Client, name)
    }
    assert overridden == set(OVERRIDDEN)


async def test_a_transport_has_its_writer(nats_url: str) -> None:
    client = Client()
    await client.connect(nats_url)
    try:
        transport: Any = client._transport
        assert isinstance(transport._io_writer.transport, asyncio.WriteTransport), f"{VERSION}: see Link._socket"
    finally:
        await client.close()


def _attributes(file: Path) -> list[ast.Attribute]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]


def _is_parser(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "_ps"
