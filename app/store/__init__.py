"""The store that replicas share: its interface, its implementation with Redis, sealed records, and waits for replicas."""
