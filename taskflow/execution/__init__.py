"""The engine: from a call to a record, from a record to its attempts, and every state in between.

Knows the core, the arguments, and of the observers their contract and the chain. It has no idea of
storage or of HTTP: what it asks of them is a protocol here.
"""
