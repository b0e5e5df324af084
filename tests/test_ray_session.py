"""Sessions on a real local Ray, in processes of their own; those on clusters are in test_faults.py and tests/stages."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.ray_session import check_reachable, ray_session

REPOSITORY = Path(__file__).resolve().parents[1]

SESSION = """
import json, os, signal, sys, time
from pathlib import Path
from pipeline.errors import WorkError
from pipeline.ray_session import check_alive, ray_session

def listening(pids):
    "Addresses on which processes listen, in hexadecimal as the kernel writes them."
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(link))
            except OSError:
                pass
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sorted({row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets})

def family(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in family(child))]

def main():
    with ray_session(None, 1) as resources:
        import ray
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        check_alive()
        node = ray._private.worker._global_node
        found = {
            "cpus": resources.cpus, "addresses": listening(family(os.getpid())), "folder": node.get_temp_dir_path(),
            "terminate": str(signal.getsignal(signal.SIGTERM)),
            "token": [os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")],
        }
        print(json.dumps(found), flush=True)
        os.kill(node.all_processes[os.environ["VICTIM"]][0].process.pid, signal.SIGKILL)
        killed = time.monotonic()
        while time.monotonic() - killed < 30:
            try:
                check_alive()
            except WorkError as error:
                print(json.dumps([str(error), time.monotonic() - killed]), flush=True)
                return
            time.sleep(0.1)

main()
"""

LOCAL_THEN_JOINED = """
import atexit, json, os
import ray
from ray.cluster_utils import Cluster
from pipeline.ray_session import ray_session

def variables():
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}

def main():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    before = variables()
    for address in (None, cluster.address, None):
        with ray_session(address, 1):
            actor = ray.remote(Counter).remote()
            node = ray._private.worker._global_node
            told = [address is None, ray.get(actor.add.remote()), node.node_ip_address, "RAY_AUTH_TOKEN" in os.environ]
        print(json.dumps([*told, variables() == before]), flush=True)
    cluster.shutdown()

class Counter:
    def __init__(self):
        self.value = 0

    def add(self):
        self.value += 1
        return self.value

main()
atexit._run_exitfuncs()
os._exit(0)  # as the command line does: Ray's threads may crash Python while it takes itself down
"""


def _run(tmp_path: Path, script: str = SESSION, **variables: str) -> list[Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**kept, "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path / "nowhere"), **variables}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_a_local_session_is_the_users_own_short_of_paths_and_ends_with_its_ray(tmp_path: Path, victim: str) -> None:
    """With a temporary folder and a home folder that Ray alone would fail on."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    found, (message, seconds) = _run(tmp_path, TMPDIR=str(long), VICTIM=victim)
    assert found["cpus"] >= 1
    assert found["addresses"], "nothing was looked at"
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert set(found["addresses"]) <= loopback
    mode, token = found["token"]
    assert (mode, len(token)) == ("token", 64)
    assert not (tmp_path / "nowhere").exists()
    assert found["folder"] == "/tmp/ray"
    assert found["terminate"] == str(signal.SIG_DFL), "as it was before Ray"
    assert message.startswith(f"Ray has ended on this machine ({victim} died)")
    assert seconds < 10


def test_sessions_follow_each_other_in_one_process_that_had_imported_ray(tmp_path: Path) -> None:
    """What a local one sets for itself, interface and token, is gone for the cluster that is joined next."""
    local, joined, again = _run(tmp_path, LOCAL_THEN_JOINED)
    assert local == again == [True, 1, "127.0.0.1", True, True]
    assert joined[:2] == [False, 1]
    assert joined[3:] == [False, True]


def test_a_folder_for_ray_that_is_too_long_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * 90)
    with pytest.raises(InputError, match=r"RAY_TMPDIR=/x+ is too long for the paths of Ray's sockets, by \d+ bytes"):
        check_reachable(None)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_reachable(None)


def test_a_ray_client_address_is_refused() -> None:
    with pytest.raises(InputError, match="Ray Client is not supported"), ray_session("ray://127.0.0.1:10001"):
        pass
