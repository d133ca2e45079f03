"""`rankrl.pretrained`: what is asked before a model is loaded, whoever loads it."""

from __future__ import annotations

import socket

import pytest

from rankrl.errors import ConfigError
from rankrl.pretrained import hub_away, looks_local, usable_device


@pytest.mark.parametrize("name", ["/models/x", "./x", "../x", ".hidden", "models/", "models/of/mine", "."])
def test_names_that_can_only_be_paths(name):
    assert looks_local(name)


@pytest.mark.parametrize("name", ["gpt2", "intfloat/e5-base-v2", "a.b/c-d_e"])
def test_names_that_the_hub_may_have(name):
    assert not looks_local(name)


@pytest.fixture
def asked_directly(monkeypatch):
    """No proxy, and the hub not switched off."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_hub_that_answers_is_not_away(asked_directly):
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked_directly.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub_away() == ""
        asked_directly.setenv("HF_HUB_OFFLINE", "1")
        assert hub_away() == "is switched off (HF_HUB_OFFLINE)"


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://127.0.0.1:port", "nonsense"])
def test_a_hub_that_cannot_be_reached_is_named(asked_directly, endpoint):
    asked_directly.setenv("HF_ENDPOINT", endpoint)
    assert hub_away(timeout_s=1) == f"cannot be reached at {endpoint}"


def test_a_proxy_is_left_to_say_what_can_be_reached(asked_directly):
    asked_directly.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    asked_directly.setenv("https_proxy", "http://127.0.0.1:9")
    assert hub_away() == ""


def test_devices():
    import torch

    assert usable_device("cpu") == "cpu"
    assert usable_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="device 'toaster' cannot be used: Expected one of cpu, cuda") as told:
        usable_device("toaster")
    assert "\n" not in str(told.value)
