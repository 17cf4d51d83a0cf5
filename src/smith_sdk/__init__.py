"""smith-sdk: the typed Python SDK for the Smith bus."""
