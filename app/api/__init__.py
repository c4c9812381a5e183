"""HTTP only: wire models, problem documents, probes and the hot path."""
