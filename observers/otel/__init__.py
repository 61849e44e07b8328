"""The parts of `taskflow.observers.opentelemetry`: attributes, making spans, log lines, flushing."""
