"""What the service says of itself: the audit line, the metrics and readiness."""
