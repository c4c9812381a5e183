"""Standard patterns that are independent of any upstream: rate limiter, circuit breaker, single flight and TTL caches."""
