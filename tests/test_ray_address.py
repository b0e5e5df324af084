"""Addresses of Ray clusters, probed on real sockets; what really is a cluster is joined in tests/stages."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from pipeline import ray_address
from pipeline.errors import InputError
from pipeline.ray_address import check_address, shortened
from pipeline.ray_session import default_address

SETTINGS_FRAME = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100))


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """One that answers one connection in a way."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def refused(address: str) -> str:
    started = time.monotonic()
    with pytest.raises(InputError) as raised:
        check_address(address)
    assert time.monotonic() - started < 5
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "is the address of a dashboard, to which ray job submit sends jobs; give HOST:PORT"),
        ("ray://127.0.0.1:10001", "Ray Client is not supported; give HOST:PORT"),
        ("127.0.0.1", "is no address of a cluster; give HOST:PORT"),
        ("127.0.0.1:many", "is no address of a cluster"),
        ("127.0.0.1:65536", "is no address of a cluster"),
        (":6379", "is no address of a cluster"),
        ("redis://127.0.0.1:6379", "is no address of a cluster"),
        ("no.such.host.invalid:6379", "there is no host no.such.host.invalid; give HOST:PORT"),
        ("[::1]:1", "no Ray cluster answers there"),
    ],
)
def test_what_is_no_address_is_explained_with_the_way_out(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = refused(address)
    assert said.startswith(f"--address {address}")
    assert message in said
    assert said.endswith("leave --address out to use a Ray of this machine")
    monkeypatch.setenv("RAY_ADDRESS", address)
    said = refused(address)
    assert said.startswith(f"RAY_ADDRESS={address}")
    assert said.endswith("unset RAY_ADDRESS to use a Ray of this machine")
    assert refused("auto") == said, "Ray prefers the variable to auto"


def test_a_port_where_nothing_listens_is_refused_at_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    assert "no Ray cluster answers there (connection refused)" in refused(f"127.0.0.1:{port}")


def test_what_speaks_otherwise_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def web(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n")

    with server(web) as address:
        assert "what answers there is no Ray cluster" in refused(address)
    with server(lambda connection: None) as address:
        assert "no Ray cluster" in refused(address)
    monkeypatch.setattr(ray_address, "PROBE_SECONDS", 0.3)
    with server(lambda connection: time.sleep(3)) as address:
        assert "no Ray cluster answers there within 0.3 s" in refused(address)


def test_what_speaks_as_a_head_node_does_is_left_to_ray() -> None:
    with server(lambda connection: connection.sendall(SETTINGS_FRAME)) as address:
        check_address(address)


def test_the_variable_names_the_cluster_unless_it_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("", None), ("local", None), ("auto", "auto"), ("head:6379", "head:6379")):
        monkeypatch.setenv("RAY_ADDRESS", value)
        assert default_address() == expected


def test_a_long_error_is_one_line_that_ends_between_words() -> None:
    text = shortened(RuntimeError("To fix this, either:\n" + "1. use a cluster\n" * 100))
    assert text.startswith("To fix this, either: 1. use a cluster")
    assert text.endswith(" ...")
    assert len(text) <= 400
    assert shortened(ValueError()) == "ValueError"
