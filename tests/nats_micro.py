"""The schemas that NATS publishes for answers of micro-services, `io.nats.micro.v1.*`, in our own
words."""

from __future__ import annotations

from typing import Any, Final

_SEMVER: Final = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9a-zA-Z.-]+)?(\+[0-9a-zA-Z.-]+)?$"
_LABELS: Final = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_TOKEN: Final = {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"}
_INTEGER: Final = {"type": "integer", "maximum": 2**63 - 1, "minimum": -(2**63) + 1}
_IDENTITY: Final = {
    "name": _TOKEN,
    "id": {"type": "string", "minLength": 1},
    "version": {"type": "string", "pattern": _SEMVER, "minLength": 5},
    "metadata": _LABELS,
}
_ENDPOINT: Final = {"name": _TOKEN, "subject": {"type": "string", "minLength": 1}, "queue_group": {"type": "string"}}
_COUNTS: Final = ("num_requests", "num_errors", "processing_time", "average_processing_time")


def schema(verb: str, properties: dict[str, Any]) -> dict[str, Any]:
    kind = {"type": {"const": f"io.nats.micro.v1.{verb}_response"}}
    required = ["type", "name", "id", "version", *properties]
    return {"type": "object", "required": required, "properties": {**kind, **_IDENTITY, **properties}}


def array(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": {"type": "object", "required": required, "properties": properties}}


SCHEMAS: Final = {
    "PING": schema("ping", {}),
    "INFO": schema(
        "info", {"description": {"type": "string"}, "endpoints": array({**_ENDPOINT, "metadata": _LABELS}, ["name", "subject"])}
    ),
    "STATS": schema(
        "stats",
        {
            "started": {"type": "string", "format": "date-time"},
            "endpoints": array(
                {**_ENDPOINT, **dict.fromkeys(_COUNTS, _INTEGER), "last_error": {"type": "string"}, "data": {"type": "object"}},
                ["name", "subject", "last_error", *_COUNTS],
            ),
        },
    ),
}
