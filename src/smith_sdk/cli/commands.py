"""The commands of `smith`, by name: where each is defined, and what it does.

Imports nothing, so that `smith --help` takes hardly longer than Python to start.
"""

from __future__ import annotations

COMMANDS = {
    "demo": ("demo:demo", "Read every file under PATH through the bus, on a private server."),
    "dev": ("dev:dev", "Run a private nats-server with the declared streams."),
    "streams": ("streams:streams", "Plan, apply and verify the declared streams; show and purge."),
    "consumers": ("consumers:consumers", "Show, pause, resume and reset consumers."),
    "dlq": ("dlq:dlq", "Show, replay, discard and audit dead letters."),
    "quarantine": ("quarantine:quarantine", "Show, release and discard quarantined intents."),
    "domains": ("domains:domains", "Show which consumers serve each domain, and move domains."),
    "outbox": ("outbox:outbox", "List, flush and discard the messages of an outbox."),
    "health": ("health:health", "Show how the server, streams, consumers and dead letters are."),
    "lag": ("lag:lag", "Show how far each consumer is behind, its rates and its trend."),
    "top": ("top.command:top", "Show a live screen: lag, rates, workers, alerts, dead letters."),
    "monitor": ("monitor:monitor", "Watch the bus, and tell when something is wrong: alerts."),
    "shards": ("shards:shards", "Show, move, drain and resume shards; change their number."),
    "backpressure": ("backpressure:backpressure", "Show and clear the rules of back pressure that act."),
    "workers": ("workers:workers", "List the workers of all processes, as they answer."),
    "worker": ("worker:worker", "Run workers and admissions until SIGTERM or Ctrl-C."),
    "admission": ("admission:admission", "Run the gate between raw and vetted intents."),
    "keys": ("keys:keys", "Make and show keys that sign intents."),
    "execute": ("execute:execute", "Execute one capability and print its output."),
    "publish": ("publish:publish", "Publish messages, typed and validated by the contract."),
    "tail": ("tail:tail", "Show the last messages of a subject, and follow new ones."),
    "trace": ("trace:trace", "Show what became of an intent, step by step."),
    "export": ("export:export", "Write a Grafana dashboard, Prometheus rules or KEDA scalers."),
    "completion": ("completion:completion", "Complete commands and options with Tab in bash, zsh or fish."),
    "codegen": ("codegen:codegen", "Generate typed subjects and payloads from a spec."),
}
"""Name: ("module:attribute" below this package, one line of help)."""

HELP = "\n".join(
    [
        "Usage: smith COMMAND",
        "",
        "The Smith bus on NATS JetStream.",
        "",
        "Commands:",
        *(f"  {name:<14}{text}" for name, (_, text) in COMMANDS.items()),
        "",
        "Options:",
        "  --help, -h  Show this help. `smith COMMAND --help` shows that of a command.",
        "  --version   Show the version.",
    ]
)
