"""Three nats-servers on loopback that form a cluster with JetStream; each is an `EmbeddedServer`,
with its guard.

What the nodes know of each other is read from their monitoring ports, without any client.
"""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from smith_sdk.embedded import EmbeddedServer

from .proxy import HOST, hold_port

START: Final = 30.0
_ASK: Final = 2.0
_POLL: Final = 0.05


class Node:
    """One server of the cluster."""

    def __init__(self, name: str, server: EmbeddedServer, monitoring: int) -> None:
        self.name = name
        self.server = server
        self._monitoring = monitoring

    @property
    def url(self) -> str:
        return self.server.url

    def ask(self, query: str) -> dict[str, Any]:
        """What the node says at `/query`; nothing while it does not answer."""
        connection = http.client.HTTPConnection(HOST, self._monitoring, timeout=_ASK)
        try:
            connection.request("GET", f"/{query}")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        finally:
            connection.close()
        return answer

    def __repr__(self) -> str:
        return f"<Node {self.name} at {self.url}, {'running' if self.server.running else 'down'}>"


class Cluster:
    """`with Cluster(tmp_path) as cluster:` has three nodes that know each other, with a leader,
    when the block begins. `config` is for each of them."""

    def __init__(self, directory: Path, *, size: int = 3, config: str = "") -> None:
        self._holders = [hold_port() for _ in range(3 * size)]
        ports = [holder.getsockname()[1] for holder in self._holders]
        clients, routes, monitors = ports[:size], ports[size : 2 * size], ports[2 * size :]
        self.nodes: list[Node] = []
        for number in range(size):
            others = ", ".join(f'"nats://{HOST}:{port}"' for port in routes if port != routes[number])
            own = (
                f'server_name: n{number}\nhttp: "{HOST}:{monitors[number]}"\n'
                # Clients know the addresses that they were given, such as those of proxies.
                f'cluster {{ name: chaos, listen: "{HOST}:{routes[number]}", routes: [{others}], no_advertise: true }}\n{config}'
            )
            server = EmbeddedServer(directory / f"n{number}", port=clients[number], config=own, start_timeout=START)
            self.nodes.append(Node(f"n{number}", server, monitors[number]))

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.server.start()
            self.wait_healthy(START)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            node.server.stop(0.0)
        for holder in self._holders:
            holder.close()

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def kill(self, node: Node) -> None:
        """SIGKILL; its store stays."""
        node.server.kill()

    def restart(self, node: Node) -> None:
        """Start it again on its store, and wait until it answers; `wait_healthy` waits for the
        rest."""
        node.server.start()

    def leader_of(self, stream: str | None, timeout: float = 10.0) -> Node:
        """The node that leads `stream`, by its own word; None: the one that leads the cluster."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for node in self.nodes:
                jsz = node.ask("jsz?streams=true") if node.server.running else {}
                group = jsz.get("meta_cluster") if stream is None else _streams(jsz).get(stream, {}).get("cluster")
                if group and group.get("leader") == node.name:
                    return node
            time.sleep(_POLL)
        raise AssertionError(f"no node leads {stream or 'the cluster'} after {timeout:g} s: {self.nodes}")

    def wait_healthy(self, timeout: float = 30.0) -> float:
        """Wait until every node runs, every group has a leader, and all its members are current.
        Returns the seconds it took."""
        began = time.monotonic()
        while True:
            trouble = self.trouble()
            if not trouble:
                return time.monotonic() - began
            if time.monotonic() - began >= timeout:
                raise AssertionError(f"the cluster is not healthy after {timeout:g} s: {'; '.join(trouble)}")
            time.sleep(_POLL)

    def trouble(self) -> list[str]:
        """What is wrong with it, in words."""
        found: list[str] = []
        led: dict[str, set[str]] = {}
        views: dict[str, dict[str, Any]] = {}
        for node in self.nodes:
            views[node.name] = jsz = node.ask("jsz?consumers=true")
            if not jsz:
                found.append(f"{node.name} does not answer")
                continue
            meta = jsz.get("meta_cluster") or {}
            if meta.get("cluster_size") != len(self.nodes) or not meta.get("leader"):
                found.append(f"{node.name} knows no leader of {len(self.nodes)} nodes: {meta}")
            groups = {"the cluster": meta, **_groups(jsz)}
            for what, group in groups.items():
                if group.get("leader") == node.name:
                    led.setdefault(what, set()).add(node.name)
                    late = [peer["name"] for peer in group.get("replicas", ()) if peer.get("offline") or not peer.get("current")]
                    if late:
                        found.append(f"{what}: {', '.join(late)} not current")
        known = {"the cluster"}.union(*(_groups(jsz) for jsz in views.values()))
        found += [f"{what} has {len(led.get(what, ()))} leaders" for what in known if len(led.get(what, ())) != 1]
        return found


def _streams(jsz: dict[str, Any]) -> dict[str, Any]:
    accounts = jsz.get("account_details") or ()
    return {stream["name"]: stream for account in accounts for stream in account.get("stream_detail") or ()}


def _groups(jsz: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The Raft groups of streams and consumers that the node takes part in."""
    found: dict[str, dict[str, Any]] = {}
    for name, stream in _streams(jsz).items():
        found[name] = stream.get("cluster") or {}
        for consumer in stream.get("consumer_detail") or ():
            found[f"{name}/{consumer['name']}"] = consumer.get("cluster") or {}
    return found
