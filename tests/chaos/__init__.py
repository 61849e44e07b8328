"""Killing an application at random moments, and asking afterwards what became of its tasks."""
