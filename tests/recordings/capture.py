"""Record what a tool signs or sends: at botocore's `before-send`, or at a loopback server. Nothing leaves the host."""

from __future__ import annotations

import io
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import urllib3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from recording import CREDENTIALS, Seen, seen
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.awsrequest import AWSPreparedRequest

# Fixed, since the tools sign the port as a part of Host. It is below the range that kernels assign.
LOOPBACK = ("127.0.0.1", 18290)
LOOPBACK_URL = f"http://{LOOPBACK[0]}:{LOOPBACK[1]}"

_STS_ANSWER = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:sts::111122223333:assumed-role/demo-app/example</Arn>
<UserId>AROAEXAMPLEEXAMPLE001:example</UserId><Account>111122223333</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>example</RequestId></ResponseMetadata></GetCallerIdentityResponse>"""
_VAULT_ANSWER = json.dumps({"auth": {"client_token": "example"}}).encode()


def clean_environment() -> dict[str, str]:
    """Return a whole environment without anybody's settings, in which sets of strings have a fixed order."""
    return {
        "PATH": os.defpath,
        "HOME": os.devnull,
        "PYTHONHASHSEED": "0",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **CREDENTIALS,
    }


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Run the block with only these settings and the made-up credentials."""
    with patch.dict(os.environ, {**clean_environment(), **settings}, clear=True):
        yield


class BeforeSend:
    """A handler of botocore's `before-send`: keeps the signed request and answers in place of STS."""

    def __init__(self) -> None:
        self._request: Seen | None = None

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> Any:
        """Take the request that botocore would send next; the answer is a response (the stubs know of None alone)."""
        self._request = seen(request)
        raw = urllib3.HTTPResponse(io.BytesIO(_STS_ANSWER), preload_content=False)
        return AWSResponse(str(request.url), 200, HTTPHeaders(), raw)

    @property
    def request(self) -> Seen:
        """The request that was held back."""
        if self._request is None:
            raise RuntimeError("the tool did not reach before-send")
        return self._request


class Loopback(HTTPServer):
    """A plain HTTP server that keeps the last request and answers as STS, or as Vault for a login."""

    last: Seen | None = None

    @property
    def request(self) -> Seen:
        """The last request that arrived."""
        if self.last is None:
            raise RuntimeError("the tool sent nothing")
        return self.last


class _Handler(BaseHTTPRequestHandler):
    server: Loopback

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.last = Seen.of("POST", LOOPBACK_URL + self.path, self.headers.items(), body)
        answer, kind = (_STS_ANSWER, "text/xml") if self.path == "/" else (_VAULT_ANSWER, "application/json")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def loopback() -> Iterator[Loopback]:
    """Serve on the loopback address while the block runs."""
    with Loopback(LOOPBACK, _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
