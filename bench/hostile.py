"""Valid callers beside as many hostile ones: ``make bench-hostile``. At most a minute, on loopback alone.

The service has a core of its own; the emulated AWS, the valid and the hostile generator share the other one, each a process
of its own, the hostile one and AWS at a lower priority so that they do not delay the clock of the valid one. It reports how
late its own timers were: what it measures is no better than that.

Both loops are closed and have think times, as control planes have: a connection asks, waits for its answer, and pauses. The
pause is chosen from what a remembered decision costs the service here and now, so that the valid callers alone take
`QUIET_SHARE` of its core. A hostile connection is as eager as a valid one. So valid and hostile calls together are what the
core serves at twice that share, were they all valid. The same valid connections are measured in both phases.
"""

import asyncio
import gc
import itertools
import json
import os
import platform
import random
import resource
import struct
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import uvloop
from botocore.credentials import ReadOnlyCredentials

from app.adapters.signer import find_endpoint, presign
from app.adapters.sts_endpoints import load_sts_endpoints
from app.core.base64_text import encode_base64url
from app.core.credential import NATIVE_PREFIX, encode_native
from app.emulator.server import Emulator
from bench.__main__ import cpu_seconds, start, start_service, wait_for
from bench.load import post, run_load

VALID: Final = 1_000
HOSTILE: Final = 1_000
QUIET_SHARE: Final = 0.3
WARM_SECONDS: Final = 6.0
QUIET_SECONDS: Final = 10.0
MIXED_SECONDS: Final = 18.0
FRESH: Final = 1_500
NEW_TASKS: Final = 300
MOST_RATIO: Final = 3.0
MOST_GROWTH_MB: Final = 20.0

_ACCOUNT: Final = "111122223333"
_PORT: Final = 15_690
_PATH: Final = "/v1/authenticate"
_CLAIM: Final = {"type": "dataplane", "mesh": "default", "tags": {"kuma.io/service": ["demo-app"]}}
_CALIBRATION: Final = 4_000
_OPEN_FILES: Final = 8_192
_TICK: Final = 0.01
_OK: Final = 200
