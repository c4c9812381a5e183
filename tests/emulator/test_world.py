"""The in-memory AWS, and the file that describes it."""

import base64
import re
from pathlib import Path

import pytest

from app.emulator import EXAMPLE, World, WorldFileError, identities
from tests.emulator.conftest import ACCOUNT, OTHER_ACCOUNT

ROOT = Path(__file__).parents[2]


def test_ids_have_awss_shape() -> None:
    world = World()
    role = world.add_role(ACCOUNT, "demo-app")
    session = world.issue_session(ACCOUNT, "demo-app", "task-1")
    user = world.add_user(ACCOUNT, "alice")

    assert re.fullmatch(r"AROA[A-Z2-7]{17}", role.role_id)
    assert re.fullmatch(r"ASIA[A-Z2-7]{16}", session.access_key_id)
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", user.access_key_id)
    assert re.fullmatch(r"AIDA[A-Z2-7]{17}", user.principal.user_id)
    assert len(session.secret_access_key) == 40


def test_access_key_id_names_its_account_as_awss_do() -> None:
    """https://awsteele.com/blog/2020/09/26/aws-access-key-format.html."""
    key_id = identities.new_access_key_id("ASIA", ACCOUNT)

    bits = int.from_bytes(base64.b32decode(key_id[4:])[:6], "big")
    assert (bits & 0x7FFFFFFFFF80) >> 7 == int(ACCOUNT)


def test_secrets_stay_out_of_reprs() -> None:
    world = World()
    world.add_role(ACCOUNT, "demo-app")
    session = world.issue_session(ACCOUNT, "demo-app", "task-1")
    key = world.find_key(session.access_key_id)

    for shown in (repr(session), repr(key), repr(world.add_user(ACCOUNT, "alice"))):
        assert session.secret_access_key not in shown
        assert session.session_token not in shown
        assert "secret" not in shown


def test_session_token_is_as_long_as_wanted() -> None:
    world = World(session_token_bytes=3000)
    world.add_role(ACCOUNT, "demo-app")

    assert len(world.issue_session(ACCOUNT, "demo-app", "task-1").session_token) > 4000


def test_role_names_are_unique_whatever_their_case() -> None:
    world = World()
    world.add_role(ACCOUNT, "demo-app")
    world.add_role(OTHER_ACCOUNT, "demo-app")

    with pytest.raises(ValueError, match="exists"):
        world.add_role(ACCOUNT, "Demo-App")


def test_what_is_not_there_is_a_lookup_error() -> None:
    world = World()

    with pytest.raises(LookupError):
        world.set_role_tags(ACCOUNT, "missing", {})
    with pytest.raises(LookupError):
        world.delete_role(ACCOUNT, "missing")
    with pytest.raises(LookupError):
        world.issue_session(ACCOUNT, "missing", "task-1")


def test_world_forgets_its_oldest_keys() -> None:
    world = World(max_keys=2)
    world.add_role(ACCOUNT, "demo-app")

    keys = [world.issue_session(ACCOUNT, "demo-app", "task-1").access_key_id for _ in range(3)]

    assert [world.find_key(key) is None for key in keys] == [True, False, False]


def test_example_file_is_the_example() -> None:
    assert (ROOT / "config/emulator.toml").read_text(encoding="utf-8") == EXAMPLE


def test_example_parses_into_its_world() -> None:
    world = World.from_toml(ROOT / "config/emulator.toml")

    demo, batch = world.find_role(ACCOUNT, "demo-app"), world.find_role(ACCOUNT, "batch")
    reader = world.find_role(OTHER_ACCOUNT, "kuma-aws-iam-reader")
    assert demo is not None
    assert batch is not None
    assert reader is not None
    assert dict(demo.tags)["kuma.io/workload"] == "demo-app"
    assert batch.arn == f"arn:aws:iam::{ACCOUNT}:role/workloads/batch"
    assert reader.external_id == "kuma-control-plane"
    assert world.accounts() == {ACCOUNT: "aws", OTHER_ACCOUNT: "aws"}


def test_everything_that_a_file_may_say_arrives() -> None:
    world = World.from_text(
        """
        partition = "aws-cn"
        [accounts."111122223333".roles.demo-app]
        path = "/a/b/"
        role_id = "AROAEXAMPLEEXAMPLE000"
        external_id = "x1"
        trusted = ["arn:*"]
        may_get_roles = []
        max_session_duration = 7200
        tags = { b = "2", a = "" }
        [accounts."111122223333".users.alice]
        path = "/people/"
        access_key_id = "AKIAEXAMPLEEXAMPLE00"
        secret_access_key = "made-up"
        [accounts."444455556666"]
        partition = "aws"
        """
    )

    role = world.find_role(ACCOUNT, "demo-app")
    key = world.find_key("AKIAEXAMPLEEXAMPLE00")
    assert role is not None
    assert key is not None
    assert (role.arn, role.role_id) == (f"arn:aws-cn:iam::{ACCOUNT}:role/a/b/demo-app", "AROAEXAMPLEEXAMPLE000")
    assert (role.external_id, role.trusted, role.may_get_roles) == ("x1", ("arn:*",), ())
    assert (role.max_session_duration, role.tags) == (7200, (("b", "2"), ("a", "")))
    assert (key.secret_access_key, key.principal.arn) == ("made-up", f"arn:aws-cn:iam::{ACCOUNT}:user/people/alice")
    assert world.accounts()[OTHER_ACCOUNT] == "aws"


ROLE = 'accounts."111122223333".roles.r'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x = [", "not TOML"),
        ("", "accounts"),
        ('partition = "aws-moon"', "partition"),
        ("accounts = 1", "accounts"),
        ("region = 1\n[accounts.111122223333]", "region"),
        ("[accounts.1234]", 'accounts."1234"'),
        ("[accounts]\n111122223333 = 1", 'accounts."111122223333"'),
        (f"[{ROLE.removesuffix('r')}x.y]", 'accounts."111122223333".roles.x.y'),
        (f"[{ROLE}]\nrole = 1", f"{ROLE}.role"),
        (f"[{ROLE}]\npath = 'x'", f"{ROLE}.path"),
        (f"[{ROLE}]\npath = 1", f"{ROLE}.path"),
        (f"[{ROLE}]\nrole_id = 'AIDA'", f"{ROLE}.role_id"),
        (f"[{ROLE}]\nexternal_id = ''", f"{ROLE}.external_id"),
        (f"[{ROLE}]\ntrusted = 'x'", f"{ROLE}.trusted"),
        (f"[{ROLE}]\nmay_get_roles = [1]", f"{ROLE}.may_get_roles"),
        (f"[{ROLE}]\nmax_session_duration = 60", f"{ROLE}.max_session_duration"),
        (f"[{ROLE}]\nmax_session_duration = true", f"{ROLE}.max_session_duration"),
        (f"[{ROLE}]\ntags = 1", f"{ROLE}.tags"),
        (f"[{ROLE}.tags]\na = 1", f"{ROLE}.tags: 'a'"),
        (f"[{ROLE}.tags]\n'aws:a' = ''", f"{ROLE}.tags: 'aws:a'"),
        (f'[{ROLE}]\n[accounts."111122223333".roles.R]', 'accounts."111122223333".roles: R: another'),
        (f"[{ROLE.removesuffix('r')}'a b']", 'accounts."111122223333".roles.a b'),
        ('[accounts."111122223333".users.u]\naccess_key_id = "x"', 'accounts."111122223333".users.u.access_key_id'),
    ],
)
def test_mistake_in_a_file_is_named_with_its_table_and_key(text: str, place: str) -> None:
    with pytest.raises(WorldFileError) as error:
        World.from_text(text)

    assert str(error.value).startswith(place)


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    with pytest.raises(WorldFileError) as error:
        World.from_text(f"partition = 1\n[{ROLE}]\npath = 'x'\nunknown = 1")

    assert len(str(error.value).splitlines()) == 3
