import pytest

from app.core.arn import Arn, ArnError, parse_arn

ROLE = "arn:aws:iam::111122223333:role/demo-app"


def test_parse_arn_splits_a_role_arn_into_its_parts() -> None:
    assert parse_arn(ROLE) == Arn(
        partition="aws", service="iam", region="", account="111122223333", resource="role/demo-app"
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ROLE, id="no-region"),
        pytest.param("arn:aws-cn:sts:cn-north-1:111122223333:assumed-role/a/b", id="every-part"),
        pytest.param("arn:aws:s3:::bucket", id="neither-region-nor-account"),
        pytest.param("arn:aws:sts::111122223333:assumed-role/aws:ec2-instance/i-0", id="colon-in-the-resource"),
        pytest.param("arn:aws:iam::111122223333:role/path/to/demo-app", id="slashes-in-the-resource"),
    ],
)
def test_arn_writes_what_was_parsed(text: str) -> None:
    assert str(parse_arn(text)) == text


def test_parse_arn_leaves_colons_to_the_resource() -> None:
    """SPIRE issue 5982: the role of an EC2 instance identity has a colon after ``assumed-role/``."""
    arn = parse_arn("arn:aws:sts::111122223333:assumed-role/aws:ec2-instance/i-0")
    assert (arn.account, arn.resource) == ("111122223333", "assumed-role/aws:ec2-instance/i-0")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("arn", id="prefix-alone"),
        pytest.param("arn:aws:iam::111122223333", id="five-parts"),
        pytest.param("urn:aws:iam::111122223333:role/demo-app", id="other-prefix"),
        pytest.param("ARN:aws:iam::111122223333:role/demo-app", id="prefix-in-upper-case"),
        pytest.param(" arn:aws:iam::111122223333:role/demo-app", id="leading-blank"),
        pytest.param("arn::iam::111122223333:role/demo-app", id="no-partition"),
        pytest.param("arn:aws:::111122223333:role/demo-app", id="no-service"),
        pytest.param("arn:aws:iam::111122223333:", id="no-resource"),
    ],
)
def test_parse_arn_rejects_what_is_no_arn(text: str) -> None:
    with pytest.raises(ArnError) as raised:
        parse_arn(text)
    assert "111122223333" not in str(raised.value)
