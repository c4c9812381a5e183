"""The role that an operator names."""

import pytest

from app.diagnosis.role_name import RoleName, parse_role_name

ACCOUNT = "111122223333"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"{ACCOUNT}/demo-app", RoleName(account=ACCOUNT, name="demo-app")),
        (f"{ACCOUNT}/{'x' * 64}", RoleName(account=ACCOUNT, name="x" * 64)),
        (f"{ACCOUNT}/mesh/a/demo-app", RoleName(account=ACCOUNT, name="demo-app", path="/mesh/a/")),
        (
            f"arn:aws:iam::{ACCOUNT}:role/demo-app",
            RoleName(account=ACCOUNT, name="demo-app", path="/", partition="aws"),
        ),
        (
            f"arn:aws-cn:iam::{ACCOUNT}:role/mesh/demo-app",
            RoleName(account=ACCOUNT, name="demo-app", path="/mesh/", partition="aws-cn"),
        ),
        (
            f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/4f1c",
            RoleName(account=ACCOUNT, name="demo-app", partition="aws"),
        ),
    ],
)
def test_a_role_is_named_by_account_and_name_or_by_an_arn(text: str, name: RoleName) -> None:
    assert parse_role_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "demo-app",
        "",
        "1111/demo-app",
        f"{ACCOUNT}/",
        f"{ACCOUNT}/a b",
        f"{ACCOUNT}/demo-app\n",
        f"{ACCOUNT}0/demo-app",
        f"{ACCOUNT}/\x1b[31m",
        f"{ACCOUNT}/{'x' * 65}",
        f"{ACCOUNT}//x y/demo-app",
        f"arn:aws:iam::{ACCOUNT}:user/demo-app",
        f"arn:aws:iam::{ACCOUNT}:role/",
        f"arn:aws:s3::{ACCOUNT}:role/demo-app",
        f"arn:aws:iam::{ACCOUNT}:assumed-role/demo-app/4f1c",
        f"arn:aws:sts::{ACCOUNT}:role/demo-app",
        "arn:aws:iam",
        f"arn:aws:iam::{ACCOUNT}x:role/demo-app",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write ACCOUNT/NAME"):
        parse_role_name(text)
