"""The store that replicas share: its port, the implementation in Redis, sealed records, and waiting for other replicas."""
