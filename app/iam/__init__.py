"""IAM: the client, the access to other accounts, what is remembered of roles, and the calls in front of it."""
