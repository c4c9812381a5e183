"""A reconnect storm: ``make bench-storm``. Two and a half minutes at most, on loopback alone.

world      the accounts, the roles and the sidecars
clients    the process of the sidecars;  connection: one of theirs;  tally: what they see
stage      AWS and the sidecars around one storm;  redis: and theirs;  sampler: looks at it all
scenarios  one storm after the other, each with something else restarted
promises   what must hold;  report: the table;  plots
"""
