"""Tokens for Kuma's control plane: their claims, the signing keys, how to issue one, and how to accept one again."""
