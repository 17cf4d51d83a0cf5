"""The machinery below both faces. It knows NATS and asyncio; it knows no name of Smith's
contract."""
