"""The demo: simulated sidecars present credentials to a service on a local AWS (`Stage`)."""
