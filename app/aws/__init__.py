"""What the clients of STS and IAM share: the service's own credentials and endpoints, signed queries, and their answers."""
