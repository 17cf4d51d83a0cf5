"""Where handlers run: threads, processes, and isolated attempts.

Imports `errors` only. Knows neither messages nor a connection.
"""
