"""`python -m smith_sdk.cli` is `smith`."""

from . import main

main()
