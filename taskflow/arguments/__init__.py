"""Keeping the arguments of a call as JSON, encrypted or not, and giving them back unchanged.

Knows the core.
"""
