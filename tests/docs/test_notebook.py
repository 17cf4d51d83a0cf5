"""Both faces in Jupyter: the cells of docs/howto/notebook.md, and others, on a real
ipykernel."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from doc_blocks import checked_blocks

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "notebook.md"
START = "from smith_sdk import SmithBus\nbus = SmithBus.embedded()\nbus.connect()"

pytestmark = [
    pytest.mark.timeout(120),
    # jupyter_client and zmq, on their way out.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


def client_for(cells: list[str], directory: Path) -> Any:
    """A client with these cells as its notebook. What it consists of is not typed."""
    v4: Any = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(code) for code in cells])
    metadata = {"metadata": {"path": str(directory)}}
    return nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3", resources=metadata)


def run(cells: list[str], directory: Path) -> list[Any]:
    """The outputs of each cell. Raises what a cell raises."""
    client = client_for(cells, directory)
    client.execute()
    return [cell.outputs for cell in client.nb.cells]


def html(outputs: Any) -> str:
    (shown,) = [output.data["text/html"] for output in outputs if "data" in output]
    return str(shown)


def test_the_page_runs_in_a_kernel_and_shows_tables(tmp_path: Path) -> None:
    cells = [block.code for block in checked_blocks(PAGE.read_text()) if block.is_python]
    bus, streams, plan, work, result, messages, normalized, frame, end = run(cells, tmp_path)
    assert bus[0].data["text/plain"].startswith("<SmithBus smith at nats://127.0.0.1:")
    assert "SDLC_RAW" in html(streams)
    assert html(plan).startswith("<pre>~ stream SDLC_RAW")
    assert work == end == []
    assert "<td" in html(result)
    assert "audit_ref" in html(result)
    assert "smith.results." in html(messages)
    assert "payload.intent_id" in html(normalized)
    assert "SDLC_RAW" in html(frame)


def test_the_kernel_s_own_tasks_may_not_block_it_but_cells_may(tmp_path: Path) -> None:
    awaited, task, async_face, _ = run(
        [
            f"{START}\nasync def look():\n    return bus.streams.get('SDLC_RAW').messages\nawait look()",
            "import asyncio\ntask = asyncio.create_task(look())\nawait asyncio.wait({task})\nstr(task.exception())",
            "from smith_sdk import AsyncSmithBus\n"
            "async with AsyncSmithBus(bus.url) as other:\n    found = await other.streams.get('SDLC_RAW')\n"
            "found.messages",
            "bus.close()",
        ],
        tmp_path,
    )
    assert awaited[0].data["text/plain"] == async_face[0].data["text/plain"] == "0"
    assert "inside a running event loop" in task[0].data["text/plain"]


LETTERS = """
import asyncio
from smith_sdk import AsyncSmithBus, RetryPolicy, Worker, consumers, subjects
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params
abus = AsyncSmithBus(bus.url)
await abus.connect()
worker = Worker(abus, consumers.executor_fs_read, retry=RetryPolicy(max_attempts=1))
@worker.handler
async def fail(message):
    raise ValueError("<script>alert(1)</script>")
intent = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x"))
await abus.publish(subjects.intents.vetted.of(intent), intent)
running = asyncio.create_task(worker.run())
while not worker.stats.dead_lettered:
    await asyncio.sleep(0.02)
await worker.stop()
await running
"""


def test_dead_letters_are_a_table_on_both_faces_and_their_text_is_escaped(tmp_path: Path) -> None:
    _, _, listed, first, blocking, frame, audited, _ = run(
        [
            START,
            LETTERS,
            "await abus.dead_letters.list()",
            "(await abus.dead_letters.list(newest_first=True))[:1]",
            "bus.dead_letters.list()",
            "import pandas as pd\npd.DataFrame(bus.dead_letters.list().to_dicts())[['id', 'error_type']]",
            "bus.dead_letters.audit()",
            "await abus.close()\nbus.close()",
        ],
        tmp_path,
    )
    for shown in map(html, (listed, first, blocking)):
        assert "ATOMS_VETTED.executor-fs-read.1" in shown
        assert "&lt;script&gt;" in shown
        assert "<script>" not in shown
    assert "ValueError" in html(frame)
    assert html(audited) == "<p>none</p>"


async def test_an_interrupt_ends_a_call_that_waits_and_stops_a_worker(tmp_path: Path) -> None:
    client = client_for(
        [
            f"{START}\nfrom smith_sdk import consumers, subjects\nfrom smith_sdk.sync import Worker\n"
            "from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params",
            "try:\n    print('begun', flush=True)\n    bus.consumer(consumers.http_results).fetch(1, timeout=300)\n"
            "except KeyboardInterrupt:\n    print('interrupted')",
            "intent = FsReadV1Intent.new(domain='default', params=FsReadV1Params(path='/'))\n"
            "bus.publish(subjects.intents.vetted.of(intent), intent)\n"
            "worker = Worker(bus, consumers.executor_fs_read)\n"
            "worker.handler(lambda message: print('begun', flush=True))\n"
            "worker.run()\nprint('stopped')",
            "bus.close()",
        ],
        tmp_path,
    )
    async with client.async_setup_kernel():
        for index, cell in enumerate(client.nb.cells):
            running = asyncio.ensure_future(client.async_execute_cell(cell, index))
            while "begun" in cell.source and not running.done() and not cell.outputs:
                await asyncio.wait({running}, timeout=0.05)
            if "begun" in cell.source:
                await client.km.interrupt_kernel()  # once: another would interrupt what follows
            await running
    printed = ["".join(output.text for output in cell.outputs).split() for cell in client.nb.cells]
    assert printed == [[], ["begun", "interrupted"], ["begun", "stopped"], []]
