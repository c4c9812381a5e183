"""STS: its endpoints, the client, the cache of verified credentials, and the queue of calls."""
