"""Open the client of IAM as the tests of `tests/iam` do."""

from tests.iam.conftest import metrics, open_iam

__all__ = ["metrics", "open_iam"]
