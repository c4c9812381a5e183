"""IAM's documents: which parts are read, and that a faulty document is not trusted."""

import pytest

from app.core.iam_documents import RolePage, read_role, read_role_page
from app.core.role_tags import RoleRecord
from app.core.strict_xml import DocumentError

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
ARN = "arn:aws:iam::111122223333:role/workloads/demo-app"
TAGS = (("kuma.io/type", "dataplane"), ("Kuma.io/Mesh", "a & b <c>"), ("empty", ""))


def tags_xml(*members: str) -> str:
    return f"<Tags>{''.join(f'<member>{member}</member>' for member in members)}</Tags>"


TAGS_XML = tags_xml(
    "<Key>kuma.io/type</Key><Value>dataplane</Value>",
    "<Key>Kuma.io/Mesh</Key><Value>a &amp; b &lt;c&gt;</Value>",
    "<Value/><Key>empty</Key>",
)


def role_xml(tags: str = TAGS_XML, name: str = "demo-app") -> str:
    return (
        f"<Path>/workloads/</Path><RoleName>{name}</RoleName><RoleId>AROAEXAMPLEEXAMPLE001</RoleId><Arn>{ARN}</Arn>"
        f"<NewField><Arn>of-something-else</Arn></NewField>{tags}"
    )


def get_role(result: str | None = None, namespace: str = NAMESPACE) -> bytes:
    result = f"<Role>{role_xml()}</Role>" if result is None else result
    metadata = "<ResponseMetadata><RequestId>x</RequestId></ResponseMetadata>"
    return (
        f'<GetRoleResponse xmlns="{namespace}"><GetRoleResult>{result}</GetRoleResult>{metadata}</GetRoleResponse>\n'
    ).encode()


def record(name: str = "demo-app") -> RoleRecord:
    return RoleRecord(arn=ARN, role_id="AROAEXAMPLEEXAMPLE001", name=name, tags=TAGS, request_id="request-1")


def test_read_role_reads_the_role_and_all_its_tags_in_their_order() -> None:
    assert read_role(get_role(), "request-1") == record()


def test_read_role_takes_an_xml_declaration() -> None:
    assert read_role(b'<?xml version="1.0" encoding="UTF-8"?>\n' + get_role(), "request-1") == record()


@pytest.mark.parametrize("tags", ["", "<Tags/>", "<Tags></Tags>"])
def test_read_role_of_an_untagged_role_has_no_tags(tags: str) -> None:
    assert read_role(get_role(f"<Role>{role_xml(tags)}</Role>"), "x").tags == ()


def test_read_role_reads_fifty_tags_and_keeps_those_that_stand_twice() -> None:
    """The reader does not decide which of two equal keys counts."""
    members = [f"<Key>key-{number % 25}</Key><Value>{number}</Value>" for number in range(50)]
    assert len(read_role(get_role(f"<Role>{role_xml(tags_xml(*members))}</Role>"), "x").tags) == 50


DOUBLED = ("RoleName", "RoleId", "Arn")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>captive portal</html>", id="another-document"),
        pytest.param(get_role(namespace="https://iam.evil.example/"), id="another-namespace"),
        pytest.param(get_role().replace(f' xmlns="{NAMESPACE}"'.encode(), b""), id="no-namespace"),
        pytest.param(get_role().replace(b"GetRoleResponse", b"GetUserResponse"), id="another-action"),
        pytest.param(get_role().replace(b"GetRoleResult", b"GetUserResult"), id="another-result"),
        pytest.param(get_role(""), id="no-role"),
        pytest.param(get_role(f"<Role>{role_xml()}</Role>" * 2), id="two-roles"),
        *(
            pytest.param(get_role(f"<Role>{role_xml()}<{name}>x</{name}></Role>"), id=f"two-of-{name}")
            for name in DOUBLED
        ),
        *(
            pytest.param(get_role(f"<Role>{role_xml()}</Role>".replace(f"{name}>", "Other>")), id=f"no-{name}")
            for name in DOUBLED
        ),
        pytest.param(get_role(f"<Role>{role_xml()}{TAGS_XML}</Role>"), id="two-lists-of-tags"),
        pytest.param(get_role(f"<Role>{role_xml(tags_xml('<Key>a</Key>'))}</Role>"), id="a-tag-without-a-value"),
        pytest.param(get_role(f"<Role>{role_xml(tags_xml('<Value>a</Value>'))}</Role>"), id="a-tag-without-a-key"),
        pytest.param(
            get_role(f"<Role>{role_xml(tags_xml('<Key/><Value>a</Value>'))}</Role>"), id="a-tag-with-an-empty-key"
        ),
        pytest.param(
            get_role(f"<Role>{role_xml(tags_xml('<Key>a</Key><Value>b</Value><Value>c</Value>'))}</Role>"),
            id="a-tag-with-two-values",
        ),
        pytest.param(
            get_role(f"<Role>{role_xml(tags_xml('<Key>a</Key><Value>b<c/></Value>'))}</Role>"),
            id="a-value-with-an-element",
        ),
        pytest.param(
            get_role(f"<Role>{role_xml('<Tags><entry><Key>a</Key><Value>b</Value></entry></Tags>')}</Role>"),
            id="a-tag-that-is-no-member",
        ),
        pytest.param(get_role(f"<IsTruncated>true</IsTruncated><Role>{role_xml()}</Role>"), id="a-part-of-an-answer"),
        pytest.param(get_role() + b"<GetRoleResponse/>", id="two-documents"),
        pytest.param(get_role()[: len(get_role()) // 2], id="half-a-document"),
        pytest.param(b'<!DOCTYPE r [<!ENTITY a "b">]>' + get_role(), id="dtd"),
        pytest.param(get_role().replace(b"<RoleId>", b"<!-- --><RoleId>"), id="comment"),
        pytest.param(get_role().replace(b"demo-app<", b"demo-app\xff<"), id="not-utf-8"),
    ],
)
def test_read_role_does_not_believe_an_answer_with_one_fault(body: bytes) -> None:
    with pytest.raises(DocumentError) as raised:
        read_role(body, "x")
    assert "demo-app" not in str(raised.value)


def page(result: str) -> bytes:
    action = "GetAccountAuthorizationDetails"
    return (
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result></{action}Response>'
    ).encode()


def page_of(*roles: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    members = "".join(f"<member>{role}</member>" for role in roles)
    return page(f"{more}<UserDetailList/><RoleDetailList>{members}</RoleDetailList><Policies/>")


def test_read_role_page_keeps_the_roles_of_proxies() -> None:
    untagged = role_xml(tags="", name="other")
    read = read_role_page(page_of(role_xml(), untagged, role_xml(name="demo-2")), "request-1")
    assert read == RolePage((record(), record("demo-2")), None)


@pytest.mark.parametrize("more", ["", "<IsTruncated>false</IsTruncated>", "<IsTruncated>false</IsTruncated><Marker/>"])
def test_read_role_page_knows_the_last_one(more: str) -> None:
    assert read_role_page(page_of(more=more), "x") == RolePage((), None)


def test_read_role_page_knows_where_the_next_one_begins() -> None:
    more = "<IsTruncated>true</IsTruncated><Marker>AB/c+d==</Marker>"
    assert read_role_page(page_of(more=more), "x").marker == "AB/c+d=="


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(page_of(more="<IsTruncated>true</IsTruncated>"), id="more-without-a-marker"),
        pytest.param(page_of(more="<IsTruncated>true</IsTruncated><Marker/>"), id="an-empty-marker"),
        pytest.param(page("<IsTruncated>false</IsTruncated>"), id="no-list"),
        pytest.param(page("<RoleDetailList/><RoleDetailList/>"), id="two-lists"),
        pytest.param(page_of(role_xml().replace("RoleId>", "Other>")), id="half-a-role"),
        pytest.param(get_role(), id="another-action"),
    ],
)
def test_read_role_page_does_not_believe_a_page_with_one_fault(body: bytes) -> None:
    with pytest.raises(DocumentError):
        read_role_page(body, "x")
