"""The rules that involve several variables of `app.settings.admission`, or the partition and its regions."""

from collections.abc import Iterator
from typing import Final

from app.settings.admission import AWS_IAM
from app.settings.environment import Settings
from app.settings.parsing import Problem
from app.settings.policy import ACCOUNT_RULES, POLICY_RULES
from app.sts.endpoints import load_sts_endpoints, partition_of

_SET_TO_TRUE: Final = "set it to true: a credential lives 15 minutes and is renewed in a file"


def _token_path_is_used(settings: Settings) -> Iterator[Problem]:
    if settings.auth_type == AWS_IAM and not settings.use_token_path:
        yield Problem("KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH", _SET_TO_TRUE)


def _tokens_are_reloadable(settings: Settings) -> Iterator[Problem]:
    if AWS_IAM in (settings.dp_proxy_type, settings.zone_proxy_type) and not settings.reloadable_tokens:
        yield Problem("KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", _SET_TO_TRUE)


def _external_id_has_its_role(settings: Settings) -> Iterator[Problem]:
    if "reader_external_id" in settings.model_fields_set and "reader_role_name" not in settings.model_fields_set:
        yield Problem(
            "KMESH_AWSIAM_READER_EXTERNAL_ID", "it belongs to KMESH_AWSIAM_READER_ROLE_NAME; set both or neither"
        )


def _partition_exists(settings: Settings) -> Iterator[Problem]:
    partitions = dict.fromkeys(endpoint.partition for endpoint in load_sts_endpoints())
    if settings.partition not in partitions:
        yield Problem("KMESH_AWSIAM_PARTITION", f"it must be one of {', '.join(partitions)}")


def _extra_regions_fit(settings: Settings) -> Iterator[Problem]:
    extra = settings.extra_regions or frozenset()
    if not _known_regions(settings):
        return
    if foreign := sorted(region for region in extra if partition_of(region) != settings.partition):
        yield Problem(
            "KMESH_AWSIAM_EXTRA_REGIONS",
            f"no name of a region of partition {settings.partition}: {', '.join(foreign)}; correct or remove it",
        )
    elif settings.regions and (unlisted := sorted(extra - settings.regions)):
        yield Problem(
            "KMESH_AWSIAM_EXTRA_REGIONS",
            f"KMESH_AWSIAM_REGIONS is set and lacks {', '.join(unlisted)}; list it there as well",
        )


def _regions_exist(settings: Settings) -> Iterator[Problem]:
    known = _known_regions(settings)
    if known and (unknown := sorted(settings.regions - known)):
        yield Problem(
            "KMESH_AWSIAM_REGIONS",
            f"no STS region of partition {settings.partition}: {', '.join(unknown)}; it has {', '.join(sorted(known))}; "
            "name a newer one in KMESH_AWSIAM_EXTRA_REGIONS as well",
        )


def _own_region_exists(settings: Settings) -> Iterator[Problem]:
    known = _known_regions(settings)
    if known and settings.own_region not in known:
        yield Problem(
            "AWS_REGION" if settings.aws_region else "AWS_DEFAULT_REGION",
            f"no region of KMESH_AWSIAM_PARTITION, which is {settings.partition}; correct one of them, or name a newer "
            "region in KMESH_AWSIAM_EXTRA_REGIONS",
        )


def _known_regions(settings: Settings) -> frozenset[str]:
    """Return the regions of the partition, and those that the operator adds. Empty for an unknown partition."""
    known = frozenset(endpoint.region for endpoint in load_sts_endpoints() if endpoint.partition == settings.partition)
    return known and known | (settings.extra_regions or frozenset())


_READING_RULES: Final = (
    _external_id_has_its_role,
    _partition_exists,
    _extra_regions_fit,
    _regions_exist,
    _own_region_exists,
)
# The rules about roles and about how they are read. The controller has no others.
ROLE_RULES: Final = (*ACCOUNT_RULES, *_READING_RULES)
ADMISSION_RULES: Final = (*POLICY_RULES, _token_path_is_used, _tokens_are_reloadable, *_READING_RULES)
