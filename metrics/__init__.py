"""The metric catalogue, the saturation collector and the /metrics endpoint."""
