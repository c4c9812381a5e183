"""Measurements, bounded in time and size, on loopback alone: ``make bench``. No test depends on a number of theirs."""
