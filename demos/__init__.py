"""Demonstrations that need more than the service does, each a package: ``make demo-kuma``, ``make demo-envoy``."""
