"""Data types and small tools: records, events, options, exceptions, checks, clock, backoff, waiters.

Knows nothing else of the package; everything else may know it.
"""
