"""Specs of any size: subjects in a tree, streams, consumers, payloads that refer to others."""

from __future__ import annotations

from collections.abc import Iterator


def large_spec(subjects: int) -> str:
    """A spec with that many subjects and half as many payloads."""
    return "\n".join(_lines(subjects)) + "\n"


def _lines(subjects: int) -> Iterator[str]:
    kinds, messages, streams = max(subjects // 20, 2), subjects // 2, max(subjects // 50, 1)
    yield '[spec]\nname = "large"\nversion = 1\nroot = "large"\npackage = "large_bus"\n[tokens]'
    yield 'region = { enum = ["eu", "us", "ap"] }'
    yield from (f't{kind} = {{ newtype = "T{kind}Id" }}' for kind in range(kinds))
    for message in range(messages):
        kind = message % kinds
        yield f'[messages.M{message}]\nid = "t{kind}"\n[messages.M{message}.fields]\nt{kind} = "T{kind}Id"\ntext = "str"'
        yield 'number = { type = "int", min = 0, default = 3 }'
        if message % 7:
            yield f'before = "M{message - 1}?"'
    yield "[subjects]"
    for subject in range(subjects):
        stream, message = subject % streams, subject % messages
        is_core = _is_core(subject, streams)
        region = "{region}." if subject % 3 == 0 else ""
        pattern = f"large.{'core' if is_core else 'kept'}.s{stream}.e{subject}.{region}{{t{message % kinds}}}"
        keep = "" if is_core else f', stream = "S{stream}"'
        yield f'"{_name(subject, streams)}" = {{ pattern = "{pattern}", message = "M{message}"{keep} }}'
    for stream in range(streams):
        retention = ("limits", "interest")[stream % 2]
        yield f'[streams.S{stream}]\nsubjects = ["large.kept.s{stream}.>"]\nretention = "{retention}"'
    for stream in range(1, streams, 2):
        yield f'[consumers.all{stream}]\nstream = "S{stream}"\n{_CONSUMER}'
    for consumer in range(subjects // 10):
        subject = next(one for one in range(consumer * 9, subjects) if not _is_core(one, streams))
        yield f'[consumers.c{consumer}]\nstream = "S{subject % streams}"\n{_CONSUMER}'
        yield f'filter = {{ subject = "{_name(subject, streams)}" }}'


_CONSUMER = 'ack_wait = "30s"\nmax_attempts = 3\nmax_ack_pending = 10\nprefetch = 5'


def _is_core(subject: int, streams: int) -> bool:
    return subject // streams % 5 == 0


def _name(subject: int, streams: int) -> str:
    return f"a{subject % streams}.b{subject % 7}.e{subject}"
