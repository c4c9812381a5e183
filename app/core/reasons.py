"""Every reason that an answer can contain. Answers, metric labels, audit lines and docs use the same names."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Reason(StrEnum):
    """Why the service answered a call without an identity. The set is closed: metrics use the reason as a label."""

    # The API call itself.
    MALFORMED_REQUEST = "malformed_request"
    REQUEST_TOO_LARGE = "request_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CALLER_NOT_AUTHENTICATED = "caller_not_authenticated"
    # The credential, or the answer of STS about it.
    CREDENTIAL_MALFORMED = "credential_malformed"
    HOST_NOT_ALLOWED = "host_not_allowed"
    AUDIENCE_MISSING = "audience_missing"
    AUDIENCE_MISMATCH = "audience_mismatch"
    SCOPE_MISMATCH = "scope_mismatch"
    CREDENTIAL_EXPIRED = "credential_expired"
    CREDENTIAL_NOT_YET_VALID = "credential_not_yet_valid"
    SESSION_EXPIRED = "session_expired"
    STS_REJECTED = "sts_rejected"
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - a reason's name
    # The principal is known, and is not permitted.
    PRINCIPAL_NOT_A_ROLE = "principal_not_a_role"
    ACCOUNT_NOT_AUTHORIZED = "account_not_authorized"
    ROLE_NOT_FOUND = "role_not_found"
    ROLE_ID_MISMATCH = "role_id_mismatch"
    ROLE_TYPE_MISSING = "role_type_missing"
    ROLE_MESH_MISSING = "role_mesh_missing"
    ROLE_SERVICE_MISSING = "role_service_missing"
    ROLE_WORKLOAD_MISSING = "role_workload_missing"
    ROLE_PATH_NOT_ALLOWED = "role_path_not_allowed"
    ROLE_TAG_INVALID = "role_tag_invalid"
    ROLE_ZONE_MISSING = "role_zone_missing"
    ACCOUNT_MESH_NOT_ALLOWED = "account_mesh_not_allowed"
    PROXY_TYPE_DISABLED = "proxy_type_disabled"
    PROXY_TYPE_MISMATCH = "proxy_type_mismatch"
    PROXY_MESH_MISMATCH = "proxy_mesh_mismatch"
    PROXY_SERVICE_MISMATCH = "proxy_service_mismatch"
    PROXY_WORKLOAD_MISMATCH = "proxy_workload_mismatch"
    PROXY_LABEL_MISMATCH = "proxy_label_mismatch"
    PROXY_ZONE_MISMATCH = "proxy_zone_mismatch"
    PROXY_NAME_MISMATCH = "proxy_name_mismatch"
    PROXY_NAME_MISSING = "proxy_name_missing"
    # The service could not decide.
    STS_THROTTLED = "sts_throttled"
    STS_UNAVAILABLE = "sts_unavailable"
    STS_ACCESS_DENIED = "sts_access_denied"
    IAM_THROTTLED = "iam_throttled"
    IAM_UNAVAILABLE = "iam_unavailable"
    IAM_ACCESS_DENIED = "iam_access_denied"
    OWN_CREDENTIALS_UNAVAILABLE = "own_credentials_unavailable"
    ACCOUNTS_UNAVAILABLE = "accounts_unavailable"
    SIGNING_KEY_MISSING = "signing_key_missing"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The text of one reason that callers see.

    Attributes:
        status: the HTTP status.
        title: the reason in a few words.
        detail: one or two fixed sentences that say what to do. They never contain a value of the call (invariant I24).
        retry_after: the seconds in the header ``Retry-After``; None unless the status is 503.
    """

    status: int
    title: str
    detail: str
    retry_after: int | None = None


EXPLANATIONS: Final = MappingProxyType(
    {
        Reason.MALFORMED_REQUEST: Explanation(
            400,
            "The API call is malformed",
            "The request body is not the JSON object that /openapi.json describes; correct the named field.",
        ),
        Reason.REQUEST_TOO_LARGE: Explanation(
            413,
            "The API call is too large",
            "The request body is over 64 KiB; send one credential and one proxy.",
        ),
        Reason.UNSUPPORTED_MEDIA_TYPE: Explanation(
            415,
            "The media type is not supported",
            "Send Content-Type: application/json, UTF-8, without Content-Encoding.",
        ),
        Reason.NOT_FOUND: Explanation(
            404,
            "There is nothing here",
            "This path does not exist on this listener; /openapi.json lists those that do.",
        ),
        Reason.METHOD_NOT_ALLOWED: Explanation(
            405, "The method is not allowed", "This path does not take this method; /openapi.json lists those it takes."
        ),
        Reason.CALLER_NOT_AUTHENTICATED: Explanation(
            401,
            "The API caller is not known",
            "The service does not know the caller and has decided nothing about the proxy; send Authorization: Bearer with "
            "a token from the service's KMESH_AWSIAM_CALLER_TOKEN_FILE.",
        ),
        Reason.CREDENTIAL_MALFORMED: Explanation(
            401,
            "The credential is malformed",
            "It is not a signed sts:GetCallerIdentity request in one of the accepted forms; see what it looks like with "
            "`kuma-aws-iam authenticate --explain`, and make one with `kuma-aws-iam credential`.",
        ),
        Reason.HOST_NOT_ALLOWED: Explanation(
            401,
            "The credential is signed for a host that is not accepted",
            "Sign for an STS endpoint of a region in KMESH_AWSIAM_REGIONS and of the partition in "
            "KMESH_AWSIAM_PARTITION, and unset AWS_ENDPOINT_URL_STS where the credential is made.",
        ),
        Reason.AUDIENCE_MISSING: Explanation(
            401,
            "The credential is not bound to an audience",
            "Its SignedHeaders hold no audience header, so it could be replayed from elsewhere; sign it with "
            "`kuma-aws-iam credential --audience`, the value of KMESH_AWSIAM_AUDIENCE.",
        ),
        Reason.AUDIENCE_MISMATCH: Explanation(
            401,
            "The credential is bound to another audience",
            "Set the audience of whoever signs (--audience, or KMESH_AWSIAM_AUDIENCE beside the proxy) and this service's "
            "KMESH_AWSIAM_AUDIENCE to one value, and sign it in the audience header of the form; a token is good where it "
            "was issued.",
        ),
        Reason.SCOPE_MISMATCH: Explanation(
            401,
            "The credential's scope does not fit its host or date",
            "The SigV4 scope must name the day of X-Amz-Date, the region of the host and the service sts; set AWS_REGION "
            "to the region that the host belongs to.",
        ),
        Reason.CREDENTIAL_EXPIRED: Explanation(
            401,
            "The credential has expired",
            "A signature lives 15 minutes, or as long as its X-Amz-Expires, and a token until its exp; make a new one, and "
            "check the clock of the proxy if it was new.",
        ),
        Reason.CREDENTIAL_NOT_YET_VALID: Explanation(
            401,
            "The credential is dated in the future",
            "It is signed more than 5 minutes ahead of this service's clock, or a token was issued ahead of it; set both "
            "clocks by NTP.",
        ),
        Reason.SESSION_EXPIRED: Explanation(
            401,
            "The AWS session that signed the credential has expired",
            "Let the proxy fetch new credentials of its task role, then sign anew.",
        ),
        Reason.STS_REJECTED: Explanation(
            401,
            "STS does not vouch for the credential",
            "STS refused the signature or its key: signed for another audience than KMESH_AWSIAM_AUDIENCE, altered on the "
            "way, of another partition, or of a role that was deleted; the audit line names the AWS error code.",
        ),
        Reason.TOKEN_REJECTED: Explanation(
            401,
            "The token is not one of this service",
            "No key of KMESH_AWSIAM_DATAPLANE_KEYS_FILE or KMESH_AWSIAM_ZONE_KEYS_FILE has signed this token for its kind "
            "and mesh, or that key was removed; present an AWS credential and get a new token.",
        ),
        Reason.PRINCIPAL_NOT_A_ROLE: Explanation(
            403,
            "The caller is not an IAM role",
            "Only an assumed IAM role is a workload: give the ECS task a task role, and use no IAM user, root, federated "
            "user or instance identity.",
        ),
        Reason.ACCOUNT_NOT_AUTHORIZED: Explanation(
            403,
            "The AWS account is not authorized",
            "Add the account of the task role to KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS if it should join the mesh.",
        ),
        Reason.ROLE_NOT_FOUND: Explanation(
            403,
            "The role does not exist",
            "IAM has no such role in the caller's account; it was deleted, or is not yet visible to IAM.",
        ),
        Reason.ROLE_ID_MISMATCH: Explanation(
            403,
            "The role is not the one that signed",
            "IAM's role of that name is another one than STS vouched for: it was recreated, so restart the task, or the "
            "service reads the wrong account.",
        ),
        Reason.ROLE_TYPE_MISSING: Explanation(
            403,
            "The role has no kuma.io/type tag",
            "Tag the role with kuma.io/type: dataplane, ingress or egress.",
        ),
        Reason.ROLE_MESH_MISSING: Explanation(
            403,
            "The role has no kuma.io/mesh tag",
            "Tag the role with kuma.io/mesh, the mesh that its proxies may join. A Dataplane with a zone listener needs it "
            "as well.",
        ),
        Reason.ROLE_SERVICE_MISSING: Explanation(
            403,
            "The role has no kuma.io/service tag",
            "KMESH_AWSIAM_REQUIRE_SERVICE_TAG is on: tag the role with kuma.io/service.",
        ),
        Reason.ROLE_WORKLOAD_MISSING: Explanation(
            403,
            "The role has no kuma.io/workload tag",
            "Tag the role with kuma.io/workload: KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG is on, or the token is for a zone proxy "
            "in a Dataplane.",
        ),
        Reason.ROLE_PATH_NOT_ALLOWED: Explanation(
            403,
            "The role's path is not allowed",
            "The role's path must begin with KMESH_AWSIAM_ROLE_PATH_PREFIX: make the role again under such a path, since "
            "IAM cannot move a role.",
        ),
        Reason.ROLE_TAG_INVALID: Explanation(
            403,
            "A kuma.io tag of the role is invalid",
            "A kuma.io key is spelt in another case or twice, names no label that can be pinned, or its value breaks the "
            "key's grammar; the audit line names the key.",
        ),
        Reason.ROLE_ZONE_MISSING: Explanation(
            403,
            "No zone is known for the zone proxy",
            "A token without a zone would hold for every zone: tag the role with kuma.io/zone, send the proxy's zone, or "
            "set KMESH_AWSIAM_ZONE.",
        ),
        Reason.ACCOUNT_MESH_NOT_ALLOWED: Explanation(
            403,
            "The account may not claim this mesh",
            "KMESH_AWSIAM_ACCOUNT_MESHES limits the meshes that roles of the account may claim, and zone proxies to "
            "accounts with *; correct it, or the role's tags.",
        ),
        Reason.PROXY_TYPE_DISABLED: Explanation(
            403,
            "This proxy type does not use aws-iam here",
            "Set KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE or KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE (before 2.7: "
            "KUMA_DP_SERVER_AUTH_TYPE) to aws-iam to turn it on.",
        ),
        Reason.PROXY_TYPE_MISMATCH: Explanation(
            403,
            "The role's kuma.io/type is not the proxy's type",
            "Run this proxy with a role whose kuma.io/type is the proxy's own. A Dataplane with a ZoneIngress or a "
            "ZoneEgress listener is an ingress or an egress, and never both.",
        ),
        Reason.PROXY_MESH_MISMATCH: Explanation(
            403,
            "The role's kuma.io/mesh is not the proxy's mesh",
            "Run this proxy with a role of its mesh, or correct the mesh of the Dataplane or of the role's tag.",
        ),
        Reason.PROXY_SERVICE_MISMATCH: Explanation(
            403,
            "The role's kuma.io/service does not cover the proxy",
            "Each kuma.io/service of the Dataplane must equal the role's tag, and there must be one: the label from Kuma "
            "3.0 on, the tag of the inbounds or the gateway before. A zone proxy in a Dataplane must have neither.",
        ),
        Reason.PROXY_WORKLOAD_MISMATCH: Explanation(
            403,
            "The role's kuma.io/workload is not the proxy's",
            "The proxy's label kuma.io/workload must equal the role's tag: tag the role with kuma.io/workload, or "
            "correct the label.",
        ),
        Reason.PROXY_LABEL_MISMATCH: Explanation(
            403,
            "A label that the role pins is not the proxy's",
            "For each tag kuma.io/label/KEY of the role, the Dataplane's label KEY must have the value of that tag: correct "
            "the label, or the role's tag. The audit line names the label.",
        ),
        Reason.PROXY_ZONE_MISMATCH: Explanation(
            403,
            "The zone proxy is of another zone",
            "The role's kuma.io/zone, the proxy's zone and KMESH_AWSIAM_ZONE must be equal where they are set: "
            "run this zone proxy with a role of its zone, at the control plane of its zone.",
        ),
        Reason.PROXY_NAME_MISMATCH: Explanation(
            403,
            "The token is for a proxy of another name",
            "It was issued for the one proxy whose name it holds; present an AWS credential, or the name of that proxy.",
        ),
        Reason.PROXY_NAME_MISSING: Explanation(
            403,
            "The token would hold for every name",
            "KMESH_AWSIAM_TOKEN_NAMES is on, and Envoy's call names no proxy: let the proxy get its token by /v1/token, or "
            "set KMESH_AWSIAM_TOKEN_NAMES to false.",
        ),
        Reason.STS_THROTTLED: Explanation(
            503, "STS is throttling", "AWS limits STS to 600 requests/s per account and region; try again.", 2
        ),
        Reason.STS_UNAVAILABLE: Explanation(
            503,
            "STS could not be asked",
            "STS did not give an answer that can be believed in time; try again. If it lasts, detail of the audit line and "
            "/ready say which host, and whether DNS, TLS, a proxy, the VPC endpoint or AWS is at fault.",
            2,
        ),
        Reason.STS_ACCESS_DENIED: Explanation(
            503,
            "STS refused access",
            "GetCallerIdentity cannot be denied by an IAM policy: check the policy of the VPC endpoint that the service "
            "uses for STS.",
            30,
        ),
        Reason.IAM_THROTTLED: Explanation(
            503, "IAM is throttling", "AWS limits iam:GetRole and sts:AssumeRole per account; try again.", 2
        ),
        Reason.IAM_UNAVAILABLE: Explanation(
            503,
            "IAM could not be asked",
            "IAM did not give an answer that can be believed in time, or STS did not for the reader role; try again. If it "
            "lasts, detail of the audit line and /ready say which host, and what is at fault.",
            2,
        ),
        Reason.IAM_ACCESS_DENIED: Explanation(
            503,
            "The service may not read the role",
            "The service lacks iam:GetRole on this role, or cannot assume the reader role in its account; its log and the "
            "audit line say which policy denies it, and what would mend it.",
            30,
        ),
        Reason.OWN_CREDENTIALS_UNAVAILABLE: Explanation(
            503,
            "The service has no AWS credentials that work",
            "The service's own AWS credentials are missing, or AWS rejects them: its log and /ready say which. Check the "
            "task role of the service, or its AWS_* variables, and its clock; it tries again every few seconds.",
            5,
        ),
        Reason.ACCOUNTS_UNAVAILABLE: Explanation(
            503,
            "The list of accounts is not available",
            "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE has been unreadable or invalid for too long; the service's log says "
            "what is wrong with it.",
            30,
        ),
        Reason.SIGNING_KEY_MISSING: Explanation(
            503,
            "There is no key to sign the token with",
            "The proxy may have a token, but no key is there for its mesh or kind: add a line to "
            "KMESH_AWSIAM_DATAPLANE_KEYS_FILE or KMESH_AWSIAM_ZONE_KEYS_FILE.",
            30,
        ),
        Reason.OVERLOADED: Explanation(
            503, "Too many decisions are under way", "The service is at its limit of concurrent work; try again.", 1
        ),
        Reason.INTERNAL_ERROR: Explanation(
            500, "Internal error", "A bug in this service; look for the requestId in its log. Nothing was decided."
        ),
    }
)
