"""Kuma tokens: claims, signing keys, issuing a token, and a token as a credential."""
