"""The HTTP client for AWS: one connection, the pool of all connections, and the certificates that they trust."""
