"""What a loader of a pretrained model asks first: folder or hub, whether the hub can be reached, which device."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rankrl.errors import ConfigError


def looks_local(name: str) -> bool:
    """True for a name that can only be a path, since the hub has names of one or two parts."""
    return Path(name).is_absolute() or name.startswith(".") or name.endswith(("/", os.sep)) or name.count("/") > 1


def hub_away(timeout_s: float = 5.0) -> str:
    """Why the Hugging Face hub cannot be asked, "" when it can; its client would try for most of a minute to find out."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "is switched off (HF_HUB_OFFLINE)"
    if getproxies():  # what can be reached is the proxy's to say
        return ""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        parts = urlsplit(endpoint)
        port = parts.port or (80 if parts.scheme == "http" else 443)
        if not parts.hostname:  # no name would mean this machine
            raise ValueError(endpoint)
        socket.create_connection((parts.hostname, port), timeout=timeout_s).close()
    except (OSError, ValueError):
        return f"cannot be reached at {endpoint}"
    return ""


def usable_device(name: str) -> str:
    """The name of a device that tensors can be put on; "auto" is cuda where there is one, else cpu.

    Raises:
        ConfigError: there is no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:
        first = re.split(r"\. |\n", str(error))[0]  # torch goes on with all the devices that it was not built for
        raise ConfigError(f"device {name!r} cannot be used: {first}") from None
    return name
