"""IAM: the client, the access to other accounts, the cache of roles, and the queue of calls."""
