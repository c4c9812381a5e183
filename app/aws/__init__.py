"""Shared by the clients of STS and IAM: the service's own credentials and endpoints, signed queries, and their answers."""
