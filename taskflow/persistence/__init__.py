"""Keeping tasks beyond the life of a process: the contract of a backend, leases, journal, history.

Knows the engine, the arguments and the core.
"""
