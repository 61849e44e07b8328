"""The REST API: its routes, what they answer, and the answers to errors."""
