"""The generator: from a spec of subjects (`subjects.toml`) to typed Python.

Imports nothing of `smith_sdk`.

spec.py, locate.py                   TOML -> strict structs, each key with its line
checks.py, wire_checks.py,
topology_checks.py, extension.py     errors in a spec; spec_warnings.py: warnings
placeholders.py, patterns.py,
fieldtypes.py, units.py, names.py    the notations of a spec, and its names in Python
resolve.py -> model.py               the meaning of a spec, with every Python name decided
modules.py                           which module of `protocol` declares what
render.py, imports.py, templates/,
docstrings.py, trie.py               the model as source: formatted, compiled, deterministic
publish.py                           comparing and writing the output directory
compile.py, cli.py                   the whole pipeline, and the command
breaking/, doctor/, lint/            subcommands
permissions.py                       what a server has to allow each role
faces.py                             the blocking face of the SDK itself
"""
