"""Diagnosis of a deployment and of a role, with the service's own settings, credentials and rules."""
