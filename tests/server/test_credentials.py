"""Signing in on real servers: user and password, token, NKey, creds file, TLS and mTLS, from
every source; never shown."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from buses import Face
from identities import Authority, NKey, Operator
from support import eventually_async, without_login

from smith_sdk import AsyncSmithBus, Auth, TLSFiles
from smith_sdk.errors import AuthenticationError, ConnectError, OptionsError, SigningNotInstalled, SmithError

ODD = 'hidden-é "\\{}:/?#[]@!$&()*+,;=%41 one'


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if "NATS" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return monkeypatch


@pytest.fixture(autouse=True)
def nothing_is_shown(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No log line and nothing printed holds a piece of a secret, in any test of this module."""
    caplog.set_level(logging.DEBUG)
    yield
    printed = "".join(capfd.readouterr())
    assert "hidden" not in caplog.text + printed


def shown(error: BaseException) -> str:
    """All that a person could see of `error` and what led to it."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


async def refused(bus: Any, kind: type[SmithError] = AuthenticationError, match: str = "127.0.0.1") -> None:
    with pytest.raises(kind, match=match) as caught:
        await bus.connect()
    assert "hidden" not in shown(caught.value) + repr(bus)


# ---- user and password, token


async def test_a_password_of_odd_characters(face: Face, make_server: Any, no_environment: pytest.MonkeyPatch) -> None:
    server = make_server(config=f"authorization {{ user: me, password: {json.dumps(ODD, ensure_ascii=False)} }}", jetstream=False)
    address = server.url.removeprefix("nats://")
    async with face.bus(server.url, auth=Auth(user="me", password=ODD)):
        pass
    in_url = f"nats://me:{quote(ODD, safe='')}@{address}"
    async with face.bus(in_url) as bus:
        assert "hidden" not in repr(bus)
    no_environment.setenv("NATS_URL", in_url)
    async with face.bus():
        pass
    no_environment.setenv("NATS_URL", address)
    await refused(face.bus(), match=server.url)
    no_environment.setenv("NATS_USER", "me")
    no_environment.setenv("NATS_PASSWORD", ODD)
    async with face.bus():
        pass
    await refused(face.bus(f"nats://me:hidden-wrong@{address}", auth=Auth(user="me", password="hidden-other")))
    # What stands in a URL is for its server, and goes before the environment.
    await refused(face.bus(f"nats://me:hidden-wrong@{address}"))


async def test_each_url_has_its_own_user(make_server: Any) -> None:
    one, two = (
        make_server(config=f'authorization {{ user: {name}, password: "hidden-{name}" }}', jetstream=False) for name in ("a", "b")
    )
    urls = [f"nats://{name}:hidden-{name}@{server.url.removeprefix('nats://')}" for name, server in (("a", one), ("b", two))]
    async with AsyncSmithBus(urls) as bus:
        one.kill()
        await eventually_async(lambda: bus.url == two.url and bus.state == "connected")


async def test_a_token(face: Face, make_server: Any, no_environment: pytest.MonkeyPatch) -> None:
    server = make_server(config='authorization { token: "hidden-token" }', jetstream=False)
    for auth, url in (
        (Auth(token="hidden-token"), server.url),
        (None, server.url.replace("://", "://hidden-token@")),
    ):
        async with face.bus(url, auth=auth):
            pass
    await refused(face.bus(server.url))
    no_environment.setenv("NATS_USER", "hidden-token")  # as the nats command has it
    async with face.bus(server.url):
        pass


# ---- NKeys and creds files


async def test_an_nkey(face: Face, make_server: Any, tmp_path: Path, no_environment: pytest.MonkeyPatch) -> None:
    user = NKey("U")
    server = make_server(config=f"authorization {{ users: [ {{ nkey: {user.public} }} ] }}", jetstream=False)
    seed = tmp_path / "user.nk"
    seed.write_text(user.seed + "\n")
    async with face.bus(server.url, auth=Auth(nkey_seed=seed)):
        pass
    no_environment.setenv("NATS_NKEY", str(seed))
    async with face.bus(server.url):
        pass
    seed.write_text(NKey("U").seed)
    await refused(face.bus(server.url))
    for wrong in (NKey("A").seed, user.seed[:10] + ("B" if user.seed[10] == "A" else "A") + user.seed[11:], "hidden", ""):
        seed.write_text(wrong)
        await refused(face.bus(server.url), OptionsError, "user.nk")


async def test_a_creds_file_and_its_renewal(face: Face, make_server: Any, tmp_path: Path) -> None:
    operator = Operator()
    server = make_server(config=operator.config, jetstream=False)
    creds = tmp_path / "user.creds"
    creds.write_text(operator.creds(operator.user))
    async with face.bus(server.url, auth=Auth(creds=creds)) as bus:
        inner = bus if face.is_async else bus.inner
        creds.write_text(operator.creds(NKey("U")))  # renewed while it runs: the next link shows the new one
        server.kill()
        server.start()
        await eventually_async(lambda: inner.state == "connected")
    stranger = Operator()
    creds.write_text(stranger.creds(stranger.user))
    await refused(face.bus(server.url, auth=Auth(creds=creds)), match=server.url)
    for wrong in ("hidden", "", operator.creds(operator.user).replace("USER NKEY SEED", "NOTHING")):
        creds.write_text(wrong)
        await refused(face.bus(server.url, auth=Auth(creds=creds)), OptionsError, "user.creds")
    creds.unlink()
    for mode in ("fail_fast", "wait"):
        await refused(face.bus(server.url, auth=Auth(creds=creds), connect_mode=mode), OptionsError, "user.creds.*No such file")


async def test_without_cryptography_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    seed = tmp_path / "user.nk"
    seed.write_text(NKey("U").seed)
    await refused(AsyncSmithBus("nats://127.0.0.1:1", auth=Auth(nkey_seed=seed)), SigningNotInstalled, r"smith-sdk\[signing\]")


# ---- TLS


def is_connected(bus: Any) -> bool:
    return bool(bus.state == "connected")


async def test_tls(face: Face, make_server: Any, tmp_path: Path, no_environment: pytest.MonkeyPatch) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    cert, key = ours.certificate("server")
    server = make_server(config=f'tls {{ cert_file: "{cert}", key_file: "{key}" }}', jetstream=False)
    for url in (server.url, server.url.replace("nats", "tls")):
        async with face.bus(url, tls=TLSFiles(ca=ours.ca)) as bus:
            inner = bus if face.is_async else bus.inner
            server.kill()
            server.start()
            await eventually_async(partial(is_connected, inner))  # and TLS again
    async with face.bus(server.url, tls=TLSFiles(ca=ours.ca).context()):
        pass
    await refused(face.bus(server.url, tls=TLSFiles(ca=theirs.ca)), ConnectError, "CERTIFICATE_VERIFY_FAILED")
    await refused(face.bus(server.url), ConnectError, "CERTIFICATE_VERIFY_FAILED")
    no_environment.setenv("NATS_CA", ours.ca)
    async with face.bus(server.url):
        pass


async def test_mutual_tls(face: Face, make_server: Any, tmp_path: Path, no_environment: pytest.MonkeyPatch) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    cert, key = ours.certificate("server")
    config = f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{ours.ca}", verify: true }}'
    server = make_server(config=config, jetstream=False)
    mine, my_key = ours.certificate("client")
    async with face.bus(server.url, tls=TLSFiles(ca=ours.ca, cert=mine, key=my_key)):
        pass
    file = tmp_path / "config" / "nats" / "context" / "secure.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"url": server.url, "ca": ours.ca, "cert": mine, "key": my_key}))
    async with face.bus(context="secure") as bus:
        assert (bus if face.is_async else bus.inner).url == without_login(server.url)
    await refused(face.bus(server.url, tls=TLSFiles(ca=ours.ca)), AuthenticationError, "certificate")
    other, other_key = theirs.certificate("client")
    await refused(face.bus(server.url, tls=TLSFiles(ca=ours.ca, cert=other, key=other_key)), AuthenticationError, "certificate")


async def test_no_credential_is_sent_without_the_tls_that_was_asked_for(make_server: Any) -> None:
    """A server that does not offer TLS, or an impostor in between that claims so."""
    server = make_server(config='authorization { user: me, password: "hidden-word" }', jetstream=False)
    auth = Auth(user="me", password="hidden-word")
    await refused(AsyncSmithBus(server.url.replace("nats", "tls"), auth=auth), ConnectError, "TLS was requested")
    await refused(AsyncSmithBus(server.url, auth=auth, tls=TLSFiles()), ConnectError, "TLS was requested")
    async with AsyncSmithBus(server.url, auth=auth):
        pass


# ---- the embedded server is nobody else's business


async def test_an_embedded_bus_does_not_read_the_environment(face: Face, no_environment: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("NATS_URL", "nats://hidden@"),
        ("NATS_CONTEXT", "absent"),
        ("NATS_CREDS", "/absent"),
        ("NATS_CA", "/no"),
    ):
        no_environment.setenv(name, value)
    async with face.embedded():
        pass
