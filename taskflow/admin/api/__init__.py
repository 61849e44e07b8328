"""The REST API: what it answers, and where the numbers come from."""
