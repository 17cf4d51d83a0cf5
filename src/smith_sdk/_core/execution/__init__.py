"""Where handlers run: threads, processes, contexts, isolated attempts, the dispatcher and signals.

Imports `errors` only. Knows neither messages nor a connection.
"""
