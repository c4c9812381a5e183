"""The cluster of the controller's own task, from the metadata endpoint of ECS.

Kong's old controller had no option for the cluster, and its policy does not let it list clusters.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
"""

import http.client
from typing import Final
from urllib.parse import urlsplit

from app.core.strict_json import StrictJsonError, parse_object
from app.local.causes import Peer, Stage, explain_failure

METADATA_SECONDS: Final = 2.0
MAX_METADATA_BYTES: Final = 256 * 1024
_OK: Final = 200


class MetadataError(Exception):
    """The endpoint did not name the cluster. The message is a sentence with the remedy."""


def read_own_cluster(url: str) -> str:
    """Return the ARN of the cluster in which this task runs.

    Args:
        url: the value of ``ECS_CONTAINER_METADATA_URI_V4``.

    Raises:
        MetadataError: the endpoint gives no cluster.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=METADATA_SECONDS)
    try:
        connection.request("GET", f"{address.path}/task")
        response = connection.getresponse()
        data = response.read(MAX_METADATA_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:
        peer = Peer(name="the metadata endpoint", setting="ECS_CONTAINER_METADATA_URI_V4")
        cause = explain_failure(error, peer, Stage.ANSWER)
        raise MetadataError(f"{cause.problem}; give --cluster, or {cause.remedy}") from None
    finally:
        connection.close()
    try:
        cluster = parse_object(data).get("Cluster") if response.status == _OK else None
    except StrictJsonError:
        cluster = None
    if not isinstance(cluster, str) or not cluster:
        raise MetadataError("the metadata endpoint names no cluster; give --cluster")
    return cluster
