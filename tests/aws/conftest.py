"""The client of IAM is opened here as it is in its own tests."""

from tests.iam.conftest import metrics, open_iam

__all__ = ["metrics", "open_iam"]
