"""Rate limiter, circuit breaker, single flight and caches with a TTL. None of them depends on a particular upstream."""
