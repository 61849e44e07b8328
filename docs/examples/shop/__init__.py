"""A small shop: people sign up and order, and the slow parts happen in background tasks."""
