"""The live stream: every change as a server-sent event."""
