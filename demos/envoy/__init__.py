"""Envoy in front of a control plane, played with a real one: ``make demo-envoy``, and the stage of tests/envoy.

Apart from ``app``: it needs the dependency group ``envoy`` (an Envoy, and gRPC for the control plane behind it), which
nobody who runs the service needs.
"""
