"""Reconnect storms: ``make bench-storm``. Six minutes at most, on loopback alone; ``--all`` takes longer.

shape, catalogue   who takes part in a storm; the storms that have names
options            the command line
world      the accounts, the roles and the sidecars
clients    the process of the sidecars;  connection: one of theirs;  tally: what they see
stage      AWS and the sidecars around one storm;  redis: and theirs;  sampler: looks at it all
scenarios  one storm after the other;  outcome: what came of one
promises   what must hold;  report: the tables;  plots
"""
