"""The nouns and the small tools: records, events, options, exceptions, checks, clock.

Knows nothing else of the package; everything else may know it.
"""
