"""The demo: a stage (local AWS and service) and the sidecars that play on it."""
