"""The HTTP client for AWS: a connection, the pool of connections, and their proxy, certificates and time limits."""
