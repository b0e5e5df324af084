"""Addresses of Ray clusters: what is wrong with one is said in seconds, before Ray itself would wait for minutes."""

import os
import socket
import textwrap
from dataclasses import dataclass

from pipeline.errors import InputError

ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Where users name the cluster that every command of theirs is to use."""

ANY_CLUSTER = "auto"
PROBE_SECONDS = 5.0
_LONGEST_REASON = 400

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""RFC 9113, section 3.4: what a client of HTTP/2, and so of gRPC, says first; with an empty frame of settings."""

_FRAME_HEADER_BYTES, _FRAME_TYPE, _SETTINGS = 9, 3, 4


@dataclass(frozen=True)
class Cluster:
    """Processes that Ray starts for a command.

    Attributes:
        workers: Their number; 0, where the command takes it: as many as there is room for.
        address: Of a Ray cluster; None: a local one.
    """

    workers: int
    address: str | None


def shortened(error: BaseException) -> str:
    """All of an error's text that fits into a line of a message, cut between words."""
    text = " ".join(str(error).split()) or type(error).__name__
    return textwrap.shorten(text, _LONGEST_REASON, placeholder=" ...")


def _source(address: str) -> tuple[str, str]:
    """How the user gave the address, and how to do without it."""
    if os.environ.get(ADDRESS_VARIABLE) == address:
        return f"{ADDRESS_VARIABLE}={address}", f"unset {ADDRESS_VARIABLE} to use a Ray of this machine"
    return f"--address {address}", "leave --address out to use a Ray of this machine"


def check_address(address: str) -> None:
    """Check that something which can be a Ray cluster answers at an address.

    Args:
        address: ``HOST:PORT`` of a head node, or ``auto`` for the cluster that runs on this machine.

    Raises:
        InputError: Nothing answers there, or something else does; or the address is not of this form.
    """
    given, otherwise = _source(address)
    if address == ANY_CLUSTER:
        named = os.environ.get(ADDRESS_VARIABLE, "")
        if named not in ("", ANY_CLUSTER):  # Ray takes that one
            check_address(named)
            return
        address = _find_cluster(given, otherwise)
    _check_form(address, given, otherwise)
    host, _, port = address.rpartition(":")
    wrong = _probe(host.strip("[]"), int(port))
    if wrong:
        raise InputError(f"{given}: {wrong}; give HOST:PORT of a head node that runs, or {otherwise}")


def _check_form(address: str, given: str, otherwise: str) -> None:
    scheme, found, _ = address.partition("://")
    if found and scheme in ("http", "https"):
        raise InputError(
            f"{given} is the address of a dashboard, to which ray job submit sends jobs; give HOST:PORT of the head "
            f"node (its port is usually 6379), or {otherwise}"
        )
    if found and scheme == "ray":
        raise InputError(
            f"{given}: Ray Client is not supported; give HOST:PORT of the head node (its port is usually 6379), "
            f"use ray job submit, or {otherwise}"
        )
    host, _, port = address.rpartition(":")
    if found or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"{given} is no address of a cluster; give HOST:PORT of the head node, or {otherwise}")


def _find_cluster(given: str, otherwise: str) -> str:
    """Address of the cluster that runs on this machine."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(ANY_CLUSTER)
    except ConnectionError:
        found = None
    if found is None:
        raise InputError(f"{given}: no Ray cluster runs on this machine; start one by ray start --head, or {otherwise}")
    return str(found)


def _probe(host: str, port: int) -> str:
    """What is wrong with a server; empty: it speaks gRPC as a head node does."""
    try:
        with socket.create_connection((host, port), PROBE_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("1", "true", "True"):
                return ""  # its greeting is encrypted
            connection.settimeout(PROBE_SECONDS)
            connection.sendall(_HELLO)
            answer = connection.recv(_FRAME_HEADER_BYTES)
    except socket.gaierror:
        return f"there is no host {host}"
    except TimeoutError:
        return f"no Ray cluster answers there within {PROBE_SECONDS:g} s"
    except OSError as error:
        return f"no Ray cluster answers there ({(error.strerror or str(error)).lower()})"
    if len(answer) > _FRAME_TYPE and answer[_FRAME_TYPE] == _SETTINGS:
        return ""
    return "what answers there is no Ray cluster"
