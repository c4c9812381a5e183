from dataclasses import replace

import pytest

from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthorizationError
from app.core.principal import AdmittedPrincipal, Principal, admit, read_principal
from app.core.reasons import Reason

ACCOUNT = "111122223333"
TASK = "4f1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e"
ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/{TASK}"
USER_ID = f"AROAEXAMPLEEXAMPLE01:{TASK}"
PRINCIPAL = Principal(
    partition="aws",
    account=ACCOUNT,
    role="demo-app",
    role_id="AROAEXAMPLEEXAMPLE01",
    session=TASK,
    request_id="r-1",
)


def identity(arn: str = ARN, user_id: str = USER_ID) -> CallerIdentity:
    return CallerIdentity(arn=parse_arn(arn), user_id=user_id, request_id="r-1")


def test_read_principal_reads_the_role_of_an_ecs_task() -> None:
    assert read_principal(identity()) == PRINCIPAL
    assert PRINCIPAL.arn == ARN


@pytest.mark.parametrize("session", ["ab", "a" * 64, "i-0123456789abcdef0", "user@example.com", "a_+=,.@-b"])
@pytest.mark.parametrize("role", ["r", "R" * 64, "AWSReservedSSO_Admin_0a1b", "a_+=,.@-b"])
def test_read_principal_reads_every_name_that_iam_and_sts_allow(role: str, session: str) -> None:
    principal = read_principal(
        identity(f"arn:aws-cn:sts::{ACCOUNT}:assumed-role/{role}/{session}", f"AROAEXAMPLEEXAMPLE01:{session}")
    )
    assert (principal.partition, principal.role, principal.session) == ("aws-cn", role, session)


@pytest.mark.parametrize("role_id", ["AROA" + "A" * 12, "AROA" + "0" * 124])
def test_read_principal_reads_unique_ids_of_16_to_128_characters(role_id: str) -> None:
    """RoleId of https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html, and its limits."""
    assert read_principal(identity(user_id=f"{role_id}:{TASK}")).role_id == role_id


@pytest.mark.parametrize(
    ("arn", "user_id"),
    [
        pytest.param(f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, id="root"),
        pytest.param(f"arn:aws:iam::{ACCOUNT}:user/alice", "AIDAEXAMPLEEXAMPLE01", id="user"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:federated-user/alice", f"{ACCOUNT}:alice", id="federated-user"),
        pytest.param(f"arn:aws:iam::{ACCOUNT}:role/demo-app", "AROAEXAMPLEEXAMPLE01", id="bare-role"),
        pytest.param(f"arn:aws:iam::{ACCOUNT}:assumed-role/demo-app/{TASK}", USER_ID, id="service-iam"),
        pytest.param(f"arn:aws:STS::{ACCOUNT}:assumed-role/demo-app/{TASK}", USER_ID, id="service-in-upper-case"),
        pytest.param(f"arn:aws:sts:us-east-1:{ACCOUNT}:assumed-role/demo-app/{TASK}", USER_ID, id="region"),
        pytest.param(
            f"arn:aws:sts::{ACCOUNT}:assumed-role/aws:ec2-instance/i-0123",
            f"{ACCOUNT}:aws:ec2-instance:i-0123",
            id="ec2-instance-identity-role",
        ),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/aws:x/{TASK}", USER_ID, id="colon-in-the-role"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app", USER_ID, id="no-session"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role//{TASK}", USER_ID, id="empty-role"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/path/demo-app/{TASK}", USER_ID, id="path"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/{TASK}/x", USER_ID, id="one-part-more"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/{TASK}\n", USER_ID, id="newline-at-the-end"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:Assumed-Role/demo-app/{TASK}", USER_ID, id="kind-in-another-case"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/{'R' * 65}/{TASK}", USER_ID, id="role-of-65-characters"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/dem\u043e-app/{TASK}", USER_ID, id="cyrillic-twin"),
        pytest.param(f"arn:aws:sts::{ACCOUNT}:assumed-role/demo*/{TASK}", USER_ID, id="wildcard"),
        pytest.param(ARN, "AROAEXAMPLEEXAMPLE01", id="user-id-without-session"),
        pytest.param(ARN, f"AROAEXAMPLEEXAMPLE01:{TASK}\n", id="newline-behind-the-user-id"),
        pytest.param(ARN, f"AROAEXAMPLEEXAMPLE01:{TASK}:x", id="user-id-of-three-parts"),
        pytest.param(ARN, f"AIDAEXAMPLEEXAMPLE01:{TASK}", id="unique-id-of-a-user"),
        pytest.param(ARN, f"ASIAEXAMPLEEXAMPLE01:{TASK}", id="unique-id-that-is-an-access-key"),
        pytest.param(ARN, f"{ACCOUNT}:{TASK}", id="unique-id-that-is-an-account"),
        pytest.param(ARN, f"aroaexampleexample01:{TASK}", id="unique-id-in-lower-case"),
        pytest.param(ARN, f"AROAEXAMPLE0001:{TASK}", id="unique-id-of-15-characters"),
        pytest.param(ARN, f"AROA{'A' * 125}:{TASK}", id="unique-id-of-129-characters"),
        pytest.param(ARN, f"AROAEXAMPLEEXAMPLE0\u0661:{TASK}", id="arabic-digit"),
        pytest.param(ARN, f" {USER_ID}", id="blank-before-the-user-id"),
    ],
)
def test_read_principal_denies_every_principal_that_is_no_assumed_role(arn: str, user_id: str) -> None:
    """I11. The kinds are AWS's own.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
    """
    with pytest.raises(AuthorizationError) as raised:
        read_principal(identity(arn, user_id))
    assert raised.value.reason is Reason.PRINCIPAL_NOT_A_ROLE


@pytest.mark.parametrize("session", ["a", "a" * 65, "a b", "a/b", "\u00e9\u00e9", ""])
def test_read_principal_denies_a_session_name_that_sts_would_not_allow(session: str) -> None:
    with pytest.raises(AuthorizationError) as raised:
        read_principal(
            identity(f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/{session}", f"AROAEXAMPLEEXAMPLE01:{session}")
        )
    assert raised.value.reason is Reason.PRINCIPAL_NOT_A_ROLE


@pytest.mark.parametrize("accounts", [{ACCOUNT}, {"444455556666", ACCOUNT}])
def test_admit_passes_an_account_in_the_list(accounts: set[str]) -> None:
    assert admit(PRINCIPAL, accounts) == AdmittedPrincipal(PRINCIPAL)


@pytest.mark.parametrize(
    "accounts",
    [
        pytest.param(set(), id="empty-list"),
        pytest.param({"444455556666"}, id="other-account"),
        pytest.param({"*"}, id="wildcard-that-is-none"),
        pytest.param({"11112222333*"}, id="wildcard-at-the-end"),
        pytest.param({"1111"}, id="prefix"),
        pytest.param({f"{ACCOUNT} "}, id="blank"),
        pytest.param({ARN}, id="arn-that-holds-it"),
    ],
)
def test_admit_denies_an_account_outside_the_list(accounts: set[str]) -> None:
    """I12: an exact comparison with each listed account, and nothing else."""
    with pytest.raises(AuthorizationError) as raised:
        admit(PRINCIPAL, accounts)
    assert raised.value.reason is Reason.ACCOUNT_NOT_AUTHORIZED


def test_admit_goes_by_the_account_and_by_nothing_that_the_caller_chose() -> None:
    """Whoever assumes the role chooses the session name."""
    stranger = replace(PRINCIPAL, account="444455556666", session=ACCOUNT, role=ACCOUNT)
    with pytest.raises(AuthorizationError) as raised:
        admit(stranger, {ACCOUNT})
    assert raised.value.reason is Reason.ACCOUNT_NOT_AUTHORIZED


def test_a_principal_is_written_without_the_request_id_of_sts() -> None:
    """The request id belongs to the call that named the principal, not to the role."""
    assert PRINCIPAL.members() == {
        "partition": PRINCIPAL.partition,
        "account": PRINCIPAL.account,
        "role": PRINCIPAL.role,
        "roleId": PRINCIPAL.role_id,
        "session": PRINCIPAL.session,
    }
