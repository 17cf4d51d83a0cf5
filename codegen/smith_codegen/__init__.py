"""The generator: a spec of subjects (`subjects.toml`) in, typed Python out. It imports nothing of `smith_sdk`.

spec.py, locate.py    TOML -> strict structs, each key with its line
checks.py, wire_checks.py    what can be wrong with a spec
placeholders.py, patterns.py, fieldtypes.py, names.py    the small languages of a spec, and how its names become Python's
resolve.py -> model.py    what the spec means, with every Python name decided
render.py, trie.py, templates/    the model as source: formatted, compiled, the same every time
publish.py    comparing with what stands there, and putting it into place
compile.py, cli.py    all of it in a row, and the command
"""
