"""The application of docs/howto/fastapi.md under uvicorn, and payloads in pydantic's models."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pprint
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pytest
from chaos.proxy import hold_port
from doc_blocks import checked_blocks
from fastapi import Body, FastAPI
from fastapi.testclient import TestClient
from support import eventually

from smith_sdk.contract import Payload
from smith_sdk.protocol import (
    AuditEvent,
    FsReadV1Intent,
    FsReadV1Params,
    HttpFetchV1Intent,
    HttpFetchV1Params,
    Intent,
    IntentResult,
    LogEntry,
)

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "fastapi.md"


def read_intent() -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x"))


def answer(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_uvicorn_serves_the_application_and_sigterm_ends_both(tmp_path: Path) -> None:
    (app,) = [block.code for block in checked_blocks(PAGE.read_text()) if block.file == "app.py"]
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "note.txt").write_text("hello")
    with hold_port() as holder, (tmp_path / "log").open("w+") as log:
        port = holder.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
        process = subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ), stderr=log, stdout=log)
        try:
            eventually(lambda: "Uvicorn running" in (tmp_path / "log").read_text(), timeout=20)
            found = answer(f"http://127.0.0.1:{port}/read", {"path": str(tmp_path / "note.txt")})
            assert (found["status"], found["output"]) == ("ok", "hello")
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        finally:
            process.kill()
            process.wait()
    printed = (tmp_path / "log").read_text()
    assert "Application shutdown complete" in printed
    assert "Traceback" not in printed


class Model(pydantic.BaseModel):
    intent: Intent
    result: IntentResult | None = None


@pytest.mark.parametrize(
    "intent", [read_intent(), HttpFetchV1Intent.new(domain="d", params=HttpFetchV1Params(url="http://x/"))], ids=["fs", "http"]
)
def test_a_payload_is_a_field_and_survives_the_model_s_json(intent: Intent) -> None:
    model = Model(intent=intent)
    assert Model.model_validate_json(model.model_dump_json()) == model
    assert Model.model_validate({"intent": intent.to_dict()}) == model
    assert model.model_dump()["intent"]["capability"] == str(intent.capability)


def test_a_field_that_is_not_the_payload_is_pydantic_s_own_error() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"\$\.params\.path") as caught:
        pydantic.TypeAdapter(FsReadV1Intent).validate_python({**read_intent().to_dict(), "params": {"path": 5}})
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("payload", [FsReadV1Intent, IntentResult, AuditEvent, LogEntry])
def test_the_schema_is_self_contained_and_has_the_limits(payload: type[Payload]) -> None:
    schema = pydantic.TypeAdapter(payload).json_schema()
    assert "$ref" not in json.dumps(schema)
    assert schema["type"] == "object"
    assert schema["title"] == payload.__name__
    if payload is FsReadV1Intent:
        assert schema["properties"]["ttl_ms"] == {"type": "integer", "minimum": 0, "maximum": 4294967295}


def application() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(intent: Annotated[FsReadV1Intent, Body()]) -> FsReadV1Intent:
        return intent

    @app.post("/plain")
    async def plain(params: FsReadV1Params, limit: int = 1) -> list[FsReadV1Params]:
        return [params] * limit

    @app.post("/several")
    async def several(first: FsReadV1Params, intents: list[Intent]) -> dict[str, Any]:
        return {"first": first, "intents": intents}

    @app.post("/short", response_model_exclude_none=True)
    async def short(params: FsReadV1Params) -> FsReadV1Params:
        return params

    @app.get("/bare", response_model=None)
    async def bare() -> FsReadV1Intent:
        return read_intent()

    return app


def test_bodies_and_responses() -> None:
    intent = read_intent()
    with TestClient(application()) as client:
        assert client.post("/echo", json=intent.to_dict()).json() == intent.to_dict()
        refused = client.post("/echo", json={**intent.to_dict(), "ttl_ms": -1})
        assert refused.status_code == 422
        assert "$.ttl_ms" in refused.text
        bare = client.get("/bare").json()
        assert (bare["capability"], bare["params"]["path"]) == ("fs.read.v1", "/x")
        params = FsReadV1Params(path="/x").to_dict()
        assert client.post("/plain?limit=2", json={"path": "/x"}).json() == [params, params]
        assert client.post("/plain", json={"path": 5}).status_code == 422
        several = client.post("/several", json={"first": params, "intents": [intent.to_dict()]}).json()
        assert several == {"first": params, "intents": [intent.to_dict()]}
        assert client.post("/short", json=params).json() == {"path": "/x"}
        schema = client.get("/openapi.json").json()["paths"]["/echo"]["post"]["requestBody"]
        assert schema["content"]["application/json"]["schema"]["properties"]["ttl_ms"]["maximum"] == 4294967295
    assert dict(intent) == intent.to_dict()


def test_a_payload_is_a_dataclass_to_the_standard_library() -> None:
    intent: Any = read_intent()
    assert dataclasses.asdict(intent) == intent.to_dict()
    assert dataclasses.replace(intent, domain="other") == FsReadV1Intent(**{**plain_fields(intent), "domain": "other"})
    printed = io.StringIO()
    pprint.pprint(intent, printed)
    assert printed.getvalue() == f"{intent!r}\n"


def plain_fields(payload: Any) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in payload.__struct_fields__}
