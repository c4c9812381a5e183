"""What an operator can do to a running emulator over HTTP."""

from typing import Any

import orjson
import pytest

from app.emulator import Emulator, FaultKind, SessionCredentials, World
from tests.emulator.conftest import ACCOUNT, TAGS
from tests.emulator.signing import Message, Response, presign

NOTHING = {"faults": [], "latency": 0.0, "rate": None, "drip_interval": 0.05}


def _control(emulator: Emulator, method: str, path: str, body: object = None) -> Response:
    data = b"" if body is None else orjson.dumps(body)
    return Message(method=method, host="localhost", target=f"/_emulator/{path}", body=data).send(emulator.url)


def test_fault_is_put_shown_and_cleared(emulator: Emulator, credentials: SessionCredentials) -> None:
    wanted = {"kind": "throttle", "times": 3, "account": ACCOUNT, "action": "GetCallerIdentity"}

    put = _control(emulator, "PUT", "faults/sts", wanted)
    spoilt = presign(credentials).send(emulator.url)
    shown = _control(emulator, "GET", "faults/sts")
    cleared = _control(emulator, "DELETE", "faults/sts")

    assert put.json == NOTHING | {"faults": [wanted]}
    assert spoilt.code == "Throttling"
    assert shown.json == NOTHING | {"faults": [wanted | {"times": 2}]}
    assert cleared.json == NOTHING
    assert presign(credentials).send(emulator.url).status == 200


def test_latency_rate_and_drip_interval_are_put_and_cleared(emulator: Emulator) -> None:
    put = _control(emulator, "PUT", "faults/iam", {"latency": 0.5, "rate": 20, "drip_interval": 1})
    unlimited = _control(emulator, "PUT", "faults/iam", {"rate": None})

    assert put.json == {"faults": [], "latency": 0.5, "rate": 20, "drip_interval": 1}
    assert unlimited.json["rate"] is None
    assert emulator.faults.iam.latency == 0.5
    assert _control(emulator, "DELETE", "faults/iam").json == NOTHING


def test_hanging_calls_are_released(emulator: Emulator) -> None:
    emulator.faults.sts.inject(FaultKind.HANG)

    answer = _control(emulator, "POST", "faults/sts/release")

    assert (answer.status, answer.json["faults"][0]["kind"]) == (200, "hang")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"kind": "nonsense"}, "kind"),
        ({"kind": 1}, "kind"),
        ({"kind": None}, "kind"),
        ({"kind": "hang", "times": 0}, "times"),
        ({"kind": "hang", "times": True}, "times"),
        ({"kind": "hang", "times": "1"}, "times"),
        ({"kind": "hang", "account": 111122223333}, "account"),
        ({"kind": "hang", "action": []}, "action"),
        ({"times": 1}, "times"),
        ({"latency": -1}, "latency"),
        ({"latency": "1"}, "latency"),
        ({"rate": 0}, "rate"),
        ({"drip_interval": True}, "drip_interval"),
        ({"sort": "hang"}, "sort"),
        ([], "object"),
        ("{", "JSON"),
    ],
)
def test_bad_fault_is_refused_by_name_and_changes_nothing(emulator: Emulator, body: Any, named: str) -> None:
    data = body.encode() if isinstance(body, str) else orjson.dumps(body)
    message = Message(method="PUT", host="localhost", target="/_emulator/faults/sts", body=data)

    answer = message.send(emulator.url)

    assert answer.status == 400
    assert named in answer.json["error"]
    assert _control(emulator, "GET", "faults/sts").json["faults"] == []


def test_calls_are_counted_by_kind_and_forgotten_on_demand(emulator: Emulator, credentials: SessionCredentials) -> None:
    for _ in range(2):
        presign(credentials).send(emulator.url)

    counted = _control(emulator, "GET", "calls").json
    forgotten = _control(emulator, "DELETE", "calls").json

    assert counted == {
        "total": 2,
        "calls": [
            {
                "service": "sts",
                "action": "GetCallerIdentity",
                "account": ACCOUNT,
                "region": "eu-west-1",
                "outcome": "ok",
                "count": 2,
            }
        ],
    }
    assert forgotten == {"total": 0, "calls": []}


def test_tags_are_replaced(world: World, emulator: Emulator) -> None:
    world.add_role(ACCOUNT, "retagged", tags=TAGS)

    put = _control(emulator, "PUT", f"roles/{ACCOUNT}/retagged/tags", {"kuma.io/type": "ingress"})

    role = world.find_role(ACCOUNT, "retagged")
    assert role is not None
    assert role.tags == (("kuma.io/type", "ingress"),)
    assert put.json == _control(emulator, "GET", f"roles/{ACCOUNT}/retagged/tags").json == dict(role.tags)


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"a": 1}, "text"),
        ({"a": "x,y"}, "value"),
        ({"a;b": "1"}, "key"),
        ({"": "1"}, "key"),
        ({"AWS:x": "1"}, "aws:"),
        ({"a": "1", "A": "2"}, "case"),
        ({str(number): "" for number in range(51)}, "50"),
        ([], "object"),
    ],
)
def test_tags_that_aws_would_refuse_are_refused(emulator: Emulator, tags: Any, named: str) -> None:
    answer = _control(emulator, "PUT", f"roles/{ACCOUNT}/demo-app/tags", tags)

    assert answer.status == 400
    assert named in answer.json["error"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_tags_of_a_missing_role_are_not_found(emulator: Emulator, method: str) -> None:
    assert _control(emulator, method, f"roles/{ACCOUNT}/missing/tags", {}).status == 404


@pytest.mark.parametrize("path", ["", "faults", "faults/s3", "faults/sts/release", "roles/1/2", "calls/1"])
def test_unknown_path_is_not_found(emulator: Emulator, path: str) -> None:
    assert _control(emulator, "GET", path).status == 404


@pytest.mark.parametrize("path", ["faults/sts", "calls", f"roles/{ACCOUNT}/demo-app/tags"])
def test_wrong_method_is_told_the_right_ones(emulator: Emulator, path: str) -> None:
    answer = _control(emulator, "PATCH", path)

    assert answer.status == 405
    assert "GET" in answer.json["error"]


def test_control_requests_are_no_calls_of_aws(emulator: Emulator) -> None:
    _control(emulator, "GET", "calls")

    assert len(emulator.calls) == 0
