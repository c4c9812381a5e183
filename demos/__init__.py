"""Demonstrations that need more than the service does, each a package that ``make`` runs: demo-kuma, demo-envoy."""
