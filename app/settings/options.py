"""Settings → the options of each part. This module only decides which setting each part receives."""

from app.core.request_policy import RequestPolicy
from app.decision.authenticator import AccountList, DecisionPolicy
from app.http.network import NetworkOptions
from app.iam.access import IamOptions
from app.settings.environment import Settings
from app.settings.policy import grant_options
from app.store.port import StoreOptions
from app.tokens.signer import TokenOptions


def decision_policy(settings: Settings, accounts: AccountList) -> DecisionPolicy:
    """Return the settings on which a decision depends."""
    return DecisionPolicy(
        request=RequestPolicy(
            endpoints=settings.accepted_endpoints,
            audience=settings.audience,
            allow_unbound=settings.allow_unbound,
            forms=settings.credential_forms,
        ),
        accounts=accounts,
        **grant_options(settings),
    )


def network_options(settings: Settings) -> NetworkOptions:
    """Return how AWS is reached. Both attempts of a call fit into the deadline of a decision."""
    defaults = NetworkOptions()
    return NetworkOptions(
        proxy_url=settings.https_proxy,
        ca_file=settings.ca_bundle,
        connect_timeout=min(defaults.connect_timeout, settings.decision_timeout / 4),
        total_timeout=min(defaults.total_timeout, settings.decision_timeout / 2),
    )


def iam_options(settings: Settings) -> IamOptions:
    """Return how IAM is reached, and with which credentials."""
    return IamOptions(
        partition=settings.partition,
        region=settings.own_region,
        sts=settings.own_sts_endpoint,
        iam=settings.own_iam_endpoint,
        reader_role_name=settings.reader_role_name,
        reader_external_id=settings.reader_external_id,
    )


def store_options(settings: Settings) -> StoreOptions | None:
    """Return how the shared store is reached; None without one."""
    if settings.store is None:
        return None
    return StoreOptions(
        address=settings.store,
        ca_file=settings.store_ca_file,
        max_role_seconds=max(settings.role_ttl, settings.role_max_stale),
    )


def token_options(settings: Settings) -> TokenOptions:
    """Return how tokens for the control plane are made."""
    return TokenOptions(
        audience=settings.audience,
        validity=settings.token_validity,
        with_names=settings.token_names,
        default_zone=settings.zone,
    )
