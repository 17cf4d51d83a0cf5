"""`smith top`: a live screen of a bus.

`board` is what is shown, as plain data; `source` fills it from a bus. `cells`, `columns`, `table`,
`view` and `frame` draw a board as lines of text, and know no terminal and no bus. `command` is the
command, and imports textual, the library behind `app`, `dialogs` and `pages`, when it is run: it
comes with the extra `top`. May import `errors`, `options`, the contract, `aio`, the command line,
and of `_core` only `monitoring` and `foreign_text`.
"""
