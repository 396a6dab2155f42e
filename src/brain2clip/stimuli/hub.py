"""Whether the model hub can be asked. What is in its cache needs no network."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass


def reachable(timeout_s: float = 3.0) -> bool:
    """Whether the model hub answers; a closed network must not cost minutes of retries."""
    from huggingface_hub import constants

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    address = urlparse(constants.ENDPOINT)
    proxy = getproxies().get(address.scheme)
    if proxy and not proxy_bypass(address.hostname or ""):  # clusters often reach the hub through one only
        address = urlparse(proxy if "//" in proxy else f"http://{proxy}")
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=timeout_s).close()
    except OSError:
        return False
    return True
