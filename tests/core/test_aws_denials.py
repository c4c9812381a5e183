"""Which policy denied a call, by AWS's own words.

They are quoted from AWS's page on access-denied messages and from reports.
"""

import pytest

from app.core.aws_denials import Denial, PolicyKind, read_denial

WHO = "User: arn:aws:sts::111122223333:assumed-role/kuma-aws-iam/4f1c is not authorized to perform: "
GET_ROLE = f"{WHO}iam:GetRole on resource: role demo-app "


@pytest.mark.parametrize(
    ("message", "denial"),
    [
        (f"{GET_ROLE}because no identity-based policy allows the iam:GetRole action", Denial(PolicyKind.IDENTITY)),
        (f"{GET_ROLE}with an explicit deny in an identity-based policy", Denial(PolicyKind.IDENTITY, is_explicit=True)),
        (f"{GET_ROLE}because no VPC endpoint policy allows the iam:GetRole action", Denial(PolicyKind.VPC_ENDPOINT)),
        (
            f"{GET_ROLE}with an explicit deny in a VPC endpoint policy",
            Denial(PolicyKind.VPC_ENDPOINT, is_explicit=True),
        ),
        (f"{GET_ROLE}because no service control policy allows the x action", Denial(PolicyKind.SERVICE_CONTROL)),
        (
            f"{GET_ROLE}with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/p-1",
            Denial(PolicyKind.SERVICE_CONTROL, is_explicit=True),
        ),
        (
            f"{GET_ROLE}with an explicit deny in a resource control policy",
            Denial(PolicyKind.RESOURCE_CONTROL, is_explicit=True),
        ),
        (f"{GET_ROLE}because no permissions boundary allows the iam:GetRole action", Denial(PolicyKind.BOUNDARY)),
        (f"{GET_ROLE}because no session policy allows the iam:GetRole action", Denial(PolicyKind.SESSION)),
        (
            f"{WHO}sts:AssumeRole because no role trust policy allows the sts:AssumeRole action",
            Denial(PolicyKind.TRUST),
        ),
        (
            f"{WHO}sts:AssumeRole because no resource-based policy allows the sts:AssumeRole action",
            Denial(PolicyKind.RESOURCE),
        ),
        (f"{WHO}sts:AssumeRole on resource: arn:aws:iam::444455556666:role/reader", Denial(PolicyKind.UNSTATED)),
        (f"{GET_ROLE}because no policy of a new kind allows it", Denial(PolicyKind.UNSTATED)),
        (f"{GET_ROLE}with an explicit deny in a policy that AWS does not name", Denial(PolicyKind.UNSTATED)),
        ("Access Denied", Denial(PolicyKind.UNSTATED)),
        ("", Denial(PolicyKind.UNSTATED)),
        # The phrase in a text that is not AWS's sentence about a denial.
        ("the VPC endpoint policy", Denial(PolicyKind.UNSTATED)),
    ],
)
def test_the_kind_of_the_policy_is_read(message: str, denial: Denial) -> None:
    assert read_denial(message) == denial


@pytest.mark.parametrize(
    ("denial", "words"),
    [
        (Denial(PolicyKind.IDENTITY), "attach a policy that allows iam:GetRole to the service's own role"),
        (
            Denial(PolicyKind.IDENTITY, is_explicit=True),
            "remove the Deny for iam:GetRole from the policies of",
        ),
        (Denial(PolicyKind.VPC_ENDPOINT), "in the policy of the VPC endpoint through which the service calls IAM"),
        (Denial(PolicyKind.SERVICE_CONTROL), "in the service control policies (SCP)"),
        (Denial(PolicyKind.SERVICE_CONTROL, is_explicit=True), "in the service control policies (SCP)"),
        (Denial(PolicyKind.RESOURCE_CONTROL), "in its resource control policies (RCP)"),
        (Denial(PolicyKind.BOUNDARY), "in the permissions boundary of the service's own role"),
        (Denial(PolicyKind.SESSION), "in the session policy with which the service's own role was assumed"),
        (Denial(PolicyKind.TRUST), "the trust policy of the role to assume"),
        (Denial(PolicyKind.RESOURCE), "the trust policy of the role to assume"),
        (Denial(PolicyKind.UNSTATED), "attach a policy that allows iam:GetRole"),
    ],
)
def test_each_kind_has_its_remedy(denial: Denial, words: str) -> None:
    assert words in denial.remedy("iam:GetRole", "the service's own role", "IAM")


@pytest.mark.parametrize(
    ("denial", "words"),
    [
        (Denial(PolicyKind.BOUNDARY), "because no permissions boundary allows it"),
        (Denial(PolicyKind.SERVICE_CONTROL, is_explicit=True), "by an explicit deny in a service control policy"),
        (Denial(PolicyKind.UNSTATED), "by a policy that AWS does not name"),
    ],
)
def test_the_problem_says_what_decided(denial: Denial, words: str) -> None:
    assert denial.problem == words
