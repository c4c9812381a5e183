"""A recording, the request in it, and the credential forms that can be assembled from a request."""

from __future__ import annotations

import json
import platform
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from botocore.awsrequest import AWSPreparedRequest

AUDIENCE = "kuma-control-plane"
KUMA_HEADER = "X-Kuma-Audience"
VAULT_HEADER = "X-Vault-AWS-IAM-Server-ID"
REGION = "us-east-1"
BODY = "Action=GetCallerIdentity&Version=2011-06-15"

# Made up. The token is as long as an ECS task's and has the beginning and the run of slashes that real ones have.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "ASIAEXAMPLEEXAMPLE01",
    "AWS_SECRET_ACCESS_KEY": "EXAMPLE/made+up/secret/EXAMPLE+EXAMPLE01",
    "AWS_SESSION_TOKEN": (
        "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJGMEQC" + "EXAMPLE+made+up/session/token/" * 28 + "EXAMPLE=="
    ),
}

_KERNEL_RELEASE = "6.1.0"  # in place of this machine's in User-Agent, which no tool signs
_SIGNED_HEADERS = re.compile(r"SignedHeaders=([^, ]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as a tool made it, its headers in the tool's order and spelling."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def of(cls, method: str, url: str, headers: Iterable[tuple[str, str]], body: str) -> Seen:
        """Take a request, without what its User-Agent tells of this machine."""
        return cls(method=method, url=url, headers=tuple((name, _portable(name, v)) for name, v in headers), body=body)

    @property
    def signed_at(self) -> str:
        """The X-Amz-Date, from the query or the headers."""
        return self._query("X-Amz-Date") or self._header("X-Amz-Date")

    @property
    def signed_headers(self) -> list[str]:
        """The SignedHeaders, from the query or from Authorization."""
        found = _SIGNED_HEADERS.search(self._header("Authorization"))
        return (found[1] if found else self._query("X-Amz-SignedHeaders")).split(";")

    @property
    def unsigned_headers(self) -> list[str]:
        """The names that the signature leaves open, lower-cased, in the tool's order."""
        covered = {*self.signed_headers, "authorization"}
        return [name.lower() for name, _ in self.headers if name.lower() not in covered]

    def _header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def _query(self, name: str) -> str:
        return parse_qs(urlsplit(self.url).query).get(name, [""])[0]


def seen(request: AWSPreparedRequest) -> Seen:
    """Read a request that botocore has signed."""
    headers = ((name, _text(value)) for name, value in request.headers.items())
    return Seen.of(str(request.method), str(request.url), headers, _text(request.body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One case: what was run, the request that came of it, and the credential."""

    case: str
    tool: str
    how: str
    request: Seen
    form: str
    credential: str
    output: str | None = None  # what the tool printed, where the credential was taken out of it
    version: str | None = None  # of a tool that is no Python distribution

    def to_json(self) -> str:
        """Return the content of the case's file."""
        return json_file(
            {
                "tool": self.tool,
                "version": self.version or version(self.tool),
                "how": self.how,
                "signed_at": self.request.signed_at,
                "method": self.request.method,
                "url": self.request.url,
                "headers": self.request.headers,
                "body": self.request.body,
                "signed_headers": self.request.signed_headers,
                "unsigned_headers": self.request.unsigned_headers,
                "form": self.form,
                "credential": self.credential,
                "output": self.output,
            }
        )

    def in_base64url(self) -> Recording:
        """Return the same envelope in its other spelling."""
        return replace(
            self,
            case=f"{self.case}-base64url",
            form=f"{self.form.split(',', 1)[0]} in base64url, assembled",
            credential=_to_base64url(self.credential),
        )


def plain_envelope(request: Seen) -> str:
    """Assemble the plain envelope."""
    return json.dumps(
        {"method": request.method, "url": request.url, "headers": dict(request.headers), "body": request.body}
    )


def vault_envelope(request: Seen, headers: dict[str, Any]) -> str:
    """Assemble the Vault envelope around any spelling of the headers."""
    return json.dumps(
        {
            "iam_http_request_method": request.method,
            "iam_request_url": b64encode(request.url.encode()).decode(),
            "iam_request_body": b64encode(request.body.encode()).decode(),
            "iam_request_headers": b64encode(json.dumps(headers).encode()).decode(),
        }
    )


def request_in_vault_envelope(text: str) -> Seen:
    """Read the request within a Vault envelope whose headers are lists."""
    envelope = json.loads(text)
    headers = json.loads(b64decode(envelope["iam_request_headers"]))
    return Seen.of(
        envelope["iam_http_request_method"],
        b64decode(envelope["iam_request_url"]).decode(),
        ((name, value) for name, values in headers.items() for value in values),
        b64decode(envelope["iam_request_body"]).decode(),
    )


def native(url: str) -> str:
    """Assemble the native form."""
    return f"kuma-aws-v1.{_to_base64url(url)}"


def native_jwt(url: str) -> str:
    """Assemble the native form in a JWT's clothes."""
    parts = ({"alg": "none", "typ": "kuma-aws-v1"}, {"url": url})
    return "".join(f"{_to_base64url(json.dumps(part, separators=(',', ':')))}." for part in parts)


def url_in_eks_token(token: str) -> str:
    """Read the URL within an EKS token."""
    text = token.removeprefix("k8s-aws-v1.")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def json_file(content: dict[str, Any]) -> str:
    """Return JSON as it stands in a file."""
    return json.dumps(content, indent=2) + "\n"


def _to_base64url(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _portable(name: str, value: str) -> str:
    return value.replace(platform.release(), _KERNEL_RELEASE) if name.lower() == "user-agent" else value
