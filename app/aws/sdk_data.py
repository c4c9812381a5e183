"""Sessions that use only the data files of the installed botocore, and no endpoint of a configuration file.

By default botocore also loads service data from ``~/.aws/models`` and from the folders of ``AWS_DATA_PATH`` and
``data_path``, and prefers this data to its own. Anybody who can write to these folders could choose the hosts of STS and IAM
(I1, I25). The SDK still finds credentials in its usual places.
"""

import botocore.session
from botocore.loaders import Loader


def new_loader() -> Loader:
    """Return a loader that reads only botocore's own package data."""
    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


def new_session() -> botocore.session.Session:
    """Return a session with the SDK's usual chain of credential providers. Its clients use only botocore's package data."""
    session = botocore.session.Session()
    # boto3 adds a folder of its own package to a session's loader, so each session needs its own loader.
    session.register_component("data_loader", new_loader())
    return session
