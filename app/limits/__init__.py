"""Standard patterns that know no upstream: rate limiter, circuit breaker, single flight and caches with an end."""
