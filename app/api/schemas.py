"""The wire models of ``POST /v1/authenticate`` and ``POST /v1/token``. They describe the API in OpenAPI, and parse the call.

The models are strict, and reject unknown members: otherwise a misspelt member would silently have no effect.
"""

import itertools
from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.api.call_bounds import CONTROL_CHARACTERS, MAX_LABELS, MAX_TAGS, MAX_VALUES_OF_A_TAG, read_call
from app.core.errors import RequestError
from app.core.proxy import SERVICE_TAG, ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason

_NO_CONTROL: Final = f"^[^{CONTROL_CHARACTERS}]*$"
# Kuma's names have at most 253 characters.
_Name = Annotated[str, Field(min_length=1, max_length=253, pattern=_NO_CONTROL)]
# `read_call` checks the texts of tags and labels for control characters, all of them at once.
_TagKey = Annotated[str, Field(max_length=317)]
_TagValue = Annotated[str, Field(max_length=253, json_schema_extra={"pattern": _NO_CONTROL})]
_TagValues = Annotated[list[_TagValue], Field(max_length=MAX_VALUES_OF_A_TAG, fail_fast=True)]
_TAG_KEYS: Final[JsonDict] = {"propertyNames": {"maxLength": 317, "pattern": _NO_CONTROL}}

MAX_VALUES: Final = 17
MAX_LISTENERS: Final = 64
_MESH_MISSING: Final = "mesh_missing"
_LISTENERS_OF_NO_DATAPLANE: Final = "listeners_of_no_dataplane"
# The member that the error names if the validator reports a fault for the whole of ``proxy``.
_FIELDS_OF_FAULTS: Final = {_MESH_MISSING: "mesh", _LISTENERS_OF_NO_DATAPLANE: "listeners"}

_DEMO: Final[JsonDict] = {
    "credential": "kuma-aws-v1.aHR0cHM6Ly9zdHMu...",
    "proxy": {
        "type": "dataplane",
        "mesh": "default",
        "name": "demo-app-1",
        "tags": {"kuma.io/service": ["demo-app"]},
        "labels": {"kuma.io/workload": "demo-app"},
    },
}


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ProxyMember(_Closed):
    """What the proxy asserts, as the DP server reads it from the Dataplane, ZoneIngress or ZoneEgress resource."""

    type: ProxyType
    mesh: _Name | None = Field(None, description="The mesh; required for a dataplane, ignored for others.")
    name: _Name | None = Field(
        None, description="The resource's name, for the audit line and for a token that holds a name."
    )
    zone: _Name | None = Field(None, description="The zone of an ingress or egress, if it is known.")
    tags: Annotated[dict[_TagKey, _TagValues], Field(max_length=MAX_TAGS)] | None = Field(
        None,
        description="The set of values per tag, over all inbounds and networking.gateway.tags.",
        json_schema_extra=_TAG_KEYS,
    )
    labels: Annotated[dict[_TagKey, _TagValue], Field(max_length=MAX_LABELS)] | None = Field(
        None, description="The resource's metadata labels.", json_schema_extra=_TAG_KEYS
    )
    listeners: list[ZoneListener] | None = Field(
        None,
        max_length=MAX_LISTENERS,
        description="The kinds in a Dataplane's networking.listeners; with one of them it is a zone proxy of its mesh.",
    )

    @model_validator(mode="after")
    def _require_members_of_its_type(self) -> Self:
        if self.type is ProxyType.DATAPLANE and self.mesh is None:
            raise PydanticCustomError(_MESH_MISSING, "mesh is required for a dataplane")
        if self.type is not ProxyType.DATAPLANE and self.listeners:
            raise PydanticCustomError(_LISTENERS_OF_NO_DATAPLANE, "only a proxy of type dataplane may have listeners")
        return self

    def to_core(self) -> ProxyAssertion:
        """Return what the proxy asserts as the core's type; it is still untrusted."""
        tags = self.tags or {}
        return ProxyAssertion(
            type=self.type,
            mesh=self.mesh,
            name=self.name,
            zone=self.zone,
            # Other tags have no effect on a decision, and would only take memory while the decision waits. Two different
            # values of a tag have the same effect as ten thousand, and the audit line shows only 16 of them.
            tags=(
                {SERVICE_TAG: frozenset(itertools.islice(dict.fromkeys(tags[SERVICE_TAG]), MAX_VALUES))}
                if SERVICE_TAG in tags
                else {}
            ),
            # A role can pin every label, so all are kept.
            labels=self.labels or {},
            listeners=frozenset(self.listeners or ()),
        )


class AuthenticateCall(_Closed):
    """A credential, and what its proxy asserts."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DEMO]})

    credential: str = Field(
        repr=False, description="What the proxy presented, in any form of docs/reference/credential.md."
    )
    proxy: ProxyMember | None = Field(
        None,
        description="Without this member, or with null, the answer is the identity that the role grants.",
    )


class Identity(BaseModel):
    """The authorized identity. The proxy may have this identity, and no other one."""

    type: ProxyType
    mesh: str | None
    service: str | None
    workload: str | None
    zone: str | None
    labels: dict[str, str] = Field(description="The labels that the role pins by tags kuma.io/label/KEY.")


class PrincipalOut(BaseModel):
    """The role that the proxy runs as."""

    model_config = ConfigDict(title="Principal")

    partition: str
    account: str
    role: str
    roleId: str = Field(description="The role's unique id. A deleted and recreated role has another id.")  # noqa: N815
    session: str = Field(
        description="The name that the assuming party chose (on ECS the task id); it proves nothing by itself."
    )
    arn: str


class AuthenticateAnswer(BaseModel):
    """An approval."""

    identity: Identity
    principal: PrincipalOut
    expiresAt: datetime = Field(description="When this approval ends: the expiry of the signature.")  # noqa: N815


class TokenAnswer(AuthenticateAnswer):
    """An approval, and the token that the control plane accepts."""

    token: str = Field(repr=False, description="What the proxy presents to its control plane.")
    kid: str = Field(description="The id of the key that signed it.")
    expiresAt: datetime = Field(description="When the token expires.")  # noqa: N815


class Problem(BaseModel):
    """An answer without an approval: a denial, a rejected call or a failure (RFC 9457)."""

    type: str = Field(description="about:blank; the reason tells problems apart.")
    title: str
    status: int
    detail: str = Field(
        description="The fixed sentence of the reason, with its remedy; on 400 it names the field as well."
    )
    reason: Reason
    requestId: str  # noqa: N815


def parse_call(body: bytes) -> tuple[str, ProxyAssertion | None]:
    """Parse the body of a call into the credential and what the proxy asserts.

    Raises:
        RequestError: ``malformed_request``, with the name of the invalid field and without its value.
    """
    try:
        call = AuthenticateCall.model_validate(read_call(body))
    except ValidationError as error:
        raise _field_error(error) from None
    return call.credential, None if call.proxy is None else call.proxy.to_core()


def _field_error(error: ValidationError) -> RequestError:
    """Return an error with the name of the first invalid field.

    The name consists only of names of the schema, because a key in a map of tags is text from the caller.
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path: list[str] = []
    model: type[BaseModel] | None = AuthenticateCall
    for part in first["loc"]:
        if model is None or not isinstance(part, str) or part not in model.model_fields:
            break
        path.append(part)
        model = ProxyMember if part == "proxy" else None
    if first["type"] in _FIELDS_OF_FAULTS:
        path.append(_FIELDS_OF_FAULTS[first["type"]])
    if first["type"] == "extra_forbidden":
        path.append("an unknown member")
    field = ".".join(path) or "the body"
    return RequestError(Reason.MALFORMED_REQUEST, f"{field}: {first['type']}", field=field)
