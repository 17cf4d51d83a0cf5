"""The cost of a typed subject beside that of a plain string."""

from __future__ import annotations

import timeit

from batch import new_result
from tables import Flat, Rows, table

from smith_sdk import subjects
from smith_sdk.topology import CONTRACT


def costs(quick: bool) -> dict[str, float]:
    """Nanoseconds for one operation, the best of five runs of each."""
    intent_id = new_result().intent_id
    text = f"smith.results.{intent_id}"
    number = 5_000 if quick else 50_000
    timed = {
        "fstring": timeit.Timer(lambda: f"smith.results.{intent_id}"),
        "construct_and_render": timeit.Timer(lambda: str(subjects.results(intent_id=intent_id))),
        "split": timeit.Timer(lambda: text.split(".")),
        "parse": timeit.Timer(lambda: CONTRACT.parse(text)),
    }
    return {name: min(timer.repeat(5, number)) / number * 1e9 for name, timer in timed.items()}


def show(flat: Flat) -> None:
    rows: Rows = [
        (
            title,
            f"{flat[f'subject.{typed}.ns']:,}",
            f"{flat[f'subject.{plain}.ns']:,}",
            f"{flat[f'subject.{typed}.ns'] / max(1, flat[f'subject.{plain}.ns']):.1f}",
        )
        for title, typed, plain in (
            ("construct and render / f-string", "construct_and_render", "fstring"),
            ("parse / str.split", "parse", "split"),
            ("parse, of 500 patterns / of 50", "parse_500", "parse_50"),
        )
        if f"subject.{typed}.ns" in flat
    ]
    if rows:
        table("Typed subjects (ns each)", ("work", "typed", "plain string", "ratio"), rows)
