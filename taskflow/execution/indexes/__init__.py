"""What is kept about the records, so that nobody has to look at all of them: their order and their number.

It belongs to the store, which tells it of every record. Nothing here changes one.
"""
