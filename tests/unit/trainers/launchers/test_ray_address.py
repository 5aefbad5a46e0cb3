"""Where the ray launcher's cluster listens; Ray itself is not needed."""

import types

import pytest

from trainers.launchers import LaunchError
from trainers.launchers import ray as launcher


class StoppedError(OSError):
    """Raised where Ray would start."""


@pytest.fixture
def started(monkeypatch):
    """The arguments with which Ray is started."""
    arguments: dict[str, object] = {}

    def init(**given: object) -> None:
        arguments.update(given)
        raise StoppedError

    fake = types.SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setattr(launcher, "_import_ray", lambda: fake)
    return arguments


def launch(address: str) -> None:
    with pytest.raises(LaunchError, match="Ray did not start"):
        launcher.Ray(1, "cpu", address).launch(None, print)  # type: ignore[arg-type]


def test_a_cluster_of_our_own_listens_on_the_loopback(started):
    launch("")
    assert started["_node_ip_address"] == "127.0.0.1"
    assert started["include_dashboard"] is False


def test_a_cluster_that_is_named_is_joined_where_it_is(started):
    launch("10.0.0.1:6379")
    assert started["address"] == "10.0.0.1:6379"
    assert "_node_ip_address" not in started
