"""Scalers for KEDA: a ScaledObject for each consumer, by its lag.

The fields are those of KEDA's `nats-jetstream` scaler (keda.sh/docs, 2.8 to 2.19), which reads the
server's monitoring port: lag is what waits and what is not acknowledged, as the SDK counts it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ...contract import ConsumerSpec

_LONGEST: Final = 54
"""Characters of a name: KEDA puts "keda-hpa-" before it, and a label has 63 at most."""
_DIGEST: Final = 8
_NOT_ALLOWED: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How the consumers are scaled, and where KEDA asks for their lag."""

    endpoint: str
    """Host and port of the server's monitoring."""
    account: str
    https: bool
    deployment: str
    """The name of the Deployment of a consumer, in which "{consumer}" is that of the consumer."""
    namespace: str | None
    lag: int
    """Messages for each replica."""
    activation_lag: int
    """Messages up to which it stays at the minimum of replicas, where that is 0."""
    least: int
    most: int


def scaled_objects(consumers: Iterable[ConsumerSpec[Any, Any]], scaling: Scaling) -> list[dict[str, Any]]:
    """A ScaledObject for each of `consumers`.

    Those of two streams that have the same name are told apart by their stream.
    """
    found = sorted(consumers, key=lambda one: (one.stream, one.name))
    names = [kubernetes_name(one.name) for one in found]
    return [
        _scaled(spec, name if names.count(name) == 1 else kubernetes_name(f"{spec.stream}-{spec.name}"), scaling)
        for spec, name in zip(found, names, strict=True)
    ]


def _scaled(spec: ConsumerSpec[Any, Any], name: str, scaling: Scaling) -> dict[str, Any]:
    # More replicas than messages that may be in flight would wait for nothing.
    most = max(scaling.least, 1, min(scaling.most, spec.max_ack_pending if spec.max_ack_pending > 0 else scaling.most))
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, **({} if scaling.namespace is None else {"namespace": scaling.namespace})},
        "spec": {
            "scaleTargetRef": {"name": scaling.deployment.replace("{consumer}", name)},
            "minReplicaCount": scaling.least,
            "maxReplicaCount": most,
            "triggers": [
                {
                    "type": "nats-jetstream",
                    "metadata": {  # all of it are texts
                        "natsServerMonitoringEndpoint": scaling.endpoint,
                        "account": scaling.account,
                        "stream": spec.stream,
                        "consumer": spec.name,
                        "lagThreshold": str(scaling.lag),
                        "activationLagThreshold": str(scaling.activation_lag),
                        "useHttps": str(scaling.https).lower(),
                    },
                }
            ],
        },
    }


def kubernetes_name(text: str) -> str:
    """`text` as a name that Kubernetes accepts: small letters, digits and "-"."""
    slug = _NOT_ALLOWED.sub("-", text.lower()).strip("-") or "consumer"
    if slug == text and len(slug) <= _LONGEST:
        return slug
    if len(slug) <= _LONGEST and slug == text.lower().replace("_", "-"):
        return slug
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return f"{slug[: _LONGEST - _DIGEST - 1].rstrip('-')}-{digest}"
