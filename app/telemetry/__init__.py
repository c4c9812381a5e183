"""What the service reports about itself: the audit line, the metrics and readiness."""
