"""Faults, one after the other, against the real service and an emulated AWS: ``make chaos``.

aws        the emulated accounts, and credentials that are signed for them
calls      a control plane's calls, one and many at once
stage      a service that runs as a process of its own, and what it is told
liar       an IAM that changes its answers on the way
row        what is promised, what was seen, and whether they agree
sts_faults, iam_faults, hanging_accounts, accounts_faults, change, lifecycle
the rows, by what fails
table      all of them; tests/test_chaos_rows.py plays them
"""
