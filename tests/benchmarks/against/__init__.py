"""This build beside an older one: the same small programs, with either's interpreter, in turn.

`build` makes the older one's environment, `rows` says what is measured, `alternation` does it. What is in
``programs`` runs on both builds: it uses public names only.
"""
