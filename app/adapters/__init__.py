"""What talks to AWS, and the caches in front of it: one file per remote system."""
