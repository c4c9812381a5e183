"""The store that replicas share: its port, the implementation on Redis, sealed records, and waiting for other replicas."""
