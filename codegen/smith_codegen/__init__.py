"""The generator: from a spec of subjects (`subjects.toml`) to typed Python.

Imports nothing of `smith_sdk`.

spec.py, locate.py                   TOML -> strict structs, each key with its line
checks.py, wire_checks.py,
topology_checks.py, extension.py     errors in a spec; spec_warnings.py: warnings
overlaps.py                          an index of patterns, for what overlaps or covers one
dependence.py                        what cannot be checked because of an error elsewhere
placeholders.py, patterns.py,
fieldtypes.py, units.py, names.py,
naming.py                            the notations of a spec, and its names in Python
resolve.py -> model.py               the meaning of a spec, with every Python name decided
modules.py                           which module of `protocol` declares what
render.py, imports.py, templates/,
docstrings.py, trie.py               the model as source: formatted, compiled, deterministic
publish.py, packaging.py             comparing and writing the output directory; what a wheel needs
compile.py, cli.py                   the whole pipeline, and the command
breaking/, doctor/, lint/            subcommands
permissions.py                       what a server has to allow each role
faces.py                             the blocking face of the SDK itself
"""
