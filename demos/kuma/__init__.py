"""Agents, and a stock control plane that takes the tokens of the service: ``make demo-kuma``.

checks     the rows of the table
play       what a row does
validator  Kuma's rules about a token, without code of the service; tests use it too
"""
