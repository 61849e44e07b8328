"""Readers of the event stream: the contract, the fan-out, and one module per observer."""
