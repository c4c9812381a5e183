"""Sessions that use only the data files of the installed botocore, and no endpoint of a configuration file.

By default botocore also loads service data from ``~/.aws/models`` and from the folders of ``AWS_DATA_PATH`` and
``data_path``, and prefers this data to its own. Anybody who can write to these folders could choose the hosts of STS and IAM
(I1, I25). The SDK still finds credentials in its usual places.
"""

from typing import Any, Final

import botocore.session
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader

_RULES: Final = "endpoint-rule-set-1"


def new_loader() -> Loader:
    """Return a loader that reads only botocore's own package data."""
    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


def load_partitions() -> list[dict[str, Any]]:
    """Return AWS's partitions, with their regions and the pattern of a region's name."""
    partitions: list[dict[str, Any]] = new_loader().load_data("partitions")["partitions"]
    return partitions


def new_endpoint_provider(service: str) -> EndpointProvider:
    """Return botocore's rules for the endpoints of a service. The rules insert any text into a template."""
    loader = new_loader()
    # load_service_model would first search the folders of all 400 services, in 13 ms of processor time.
    version = loader.determine_latest_version(service, _RULES)
    rules = loader.load_data(f"{service}/{version}/{_RULES}")
    return EndpointProvider(rules, loader.load_data("partitions"))


def new_session() -> botocore.session.Session:
    """Return a session with the SDK's usual chain of credential providers. Its clients use only botocore's package data."""
    session = botocore.session.Session()
    # boto3 adds a folder of its own package to a session's loader, so each session needs its own loader.
    session.register_component("data_loader", new_loader())
    return session
