"""The numbers that are shown: counts, rates, latencies, and whether the manager can do its work.

They are made from the event stream, from the records in memory and from the history. Nothing here knows
about HTTP.
"""
