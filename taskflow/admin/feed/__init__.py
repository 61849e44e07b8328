"""The live stream: each change of a task as a server-sent event."""
