"""STS: its endpoints, the client, what is remembered of its answers, and the calls in front of it."""
