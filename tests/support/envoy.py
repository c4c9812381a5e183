"""What the tests of Envoy need: a real one, and gRPC. Whoever imports it is skipped without them; in CI it fails."""

import importlib.util
import os

import pytest

if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("envoy") is None:
    REMEDY = "there is no Envoy here; install it: make install-envoy"
    if os.environ.get("CI"):
        pytest.fail(REMEDY, pytrace=False)
    pytest.skip(REMEDY, allow_module_level=True)
