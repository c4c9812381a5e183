"""The page of the latest decisions, for people: what it remembers, how it filters, and its HTML."""
