"""Print the least permissions of a role, for the configuration of nats-server or for nsc.

The roles are derived from the spec, so this serves any contract. Each role has an inbox prefix of
its own: connect its program with it (`inbox_prefix` of the bus, or of a context).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import checks, permissions, sources
from .spec import Spec


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, permissions.ROLES))
    parser.epilog = "roles:\n" + "\n".join(f"  {name:{width}}  {role.doc}" for name, role in permissions.ROLES.items())
    parser.add_argument(
        "spec", metavar="SPEC", help="the spec, such as subjects.toml, or an installed package, such as smith_sdk"
    )
    parser.add_argument("--role", metavar="ROLE", help="one of the roles below (default with --consumer and --sharding: worker)")
    subjects = "for publisher, executer and reader: subjects by their names in the spec, also NAME:token=value"
    parser.add_argument("--subjects", metavar="NAME", nargs="+", default=[], help=subjects)
    parser.add_argument("--streams", metavar="NAME", nargs="+", default=[], help="for reader: streams")
    parser.add_argument("--consumer", metavar="NAME", nargs="+", default=[], help="for worker and dlq-operator: consumers")
    shards = "for worker: shardings by their names, also NAME:generation=2,shards=32 after a change of their number"
    parser.add_argument("--sharding", metavar="NAME", nargs="+", default=[], help=shards)
    protects = "for admission with Trust: allow the bucket in which it remembers what it has let through"
    parser.add_argument("--replay-protection", "--trust", dest="replay_protection", action="store_true", help=protects)
    once = "for worker with once=Once(...): the name of its bucket"
    parser.add_argument("--once", metavar="BUCKET", default="", help=once)
    parser.add_argument("--inbox-prefix", metavar="PREFIX", default="", help="default: _INBOX_ and the role, or the consumer")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--js-domain", metavar="DOMAIN", help="the JetStream domain that the program connects to")
    where.add_argument("--api-prefix", metavar="PREFIX", help="where the account imports the JetStream API")
    formats = ("conf", "nsc", "json")
    parser.add_argument("--format", choices=formats, default="conf", help="default: conf, for nats-server")


def run(given: argparse.Namespace) -> int:
    """0: printed; 2: the spec or the role is not valid."""
    role = given.role or ("worker" if given.consumer or given.sharding else "")
    try:
        found = permissions.block(
            _spec(given.spec),
            role,
            subjects=given.subjects,
            consumers=given.consumer,
            streams=given.streams,
            inbox_prefix=given.inbox_prefix,
            api_prefix=_api_prefix(given),
            replay_protection=given.replay_protection,
            once=given.once,
            shardings=given.sharding,
        )
    except permissions.RoleError as error:
        print(f"smith-codegen permissions: {error}", file=sys.stderr)
        return 2
    if given.format == "json":
        sys.stdout.write(permissions.as_json(found))
    else:
        print(f"# {found.role}: connect with inbox_prefix={found.inbox_prefix!r}")
        sys.stdout.write(permissions.as_nsc(found) if given.format == "nsc" else permissions.as_conf(found))
    return 0


def _api_prefix(given: argparse.Namespace) -> str:
    if given.js_domain is not None:
        return permissions.api_of(given.js_domain)
    return permissions.API if given.api_prefix is None else str(given.api_prefix)


def _spec(name: str) -> Spec:
    is_package = not Path(name).exists() and all(part.isidentifier() for part in name.split(".")) and not name.endswith(".toml")
    found = sources.load_package(name) if is_package else sources.load(Path(name))
    checks.check(found)
    return found
