"""A stand-in of the Hugging Face Hub on the loopback interface, as far as huggingface_hub asks."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass
class HubServer:
    """Repositories by name: for each commit, and for ``main``, files by name."""

    url: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    large: dict[str, int] = field(default_factory=dict)

    def put(self, repo: str, files: dict[str, bytes]) -> str:
        """A commit on main with just these files; its hash."""
        commit = hashlib.sha1(repr((repo, sorted(files.items()))).encode()).hexdigest()
        commits = self.repositories.setdefault(repo, {})
        commits[commit] = commits["main"] = files
        return commit

    def commit_of(self, repo: str, revision: str) -> str:
        commits = self.repositories[repo]
        return next(name for name, files in commits.items() if name != "main" and files is commits[revision])


@contextmanager
def serving() -> Iterator[HubServer]:
    """A server that runs while the block does."""
    hub = HubServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def tell(self, value: object, status: int = 200) -> None:
            self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

        def file(self) -> None:
            found = FILE.fullmatch(unquote(urlsplit(self.path).path))
            if found is None:
                self.answer(404)
                return
            commits = hub.repositories.get(found["repo"])
            if commits is None:
                self.answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            elif found["revision"] not in commits:
                self.answer(404, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
            elif found["name"] not in commits[found["revision"]]:
                self.answer(
                    404,
                    X_Error_Code="EntryNotFound",
                    X_Repo_Commit=hub.commit_of(found["repo"], found["revision"]),
                    X_Error_Message="Entry not found",
                )
            else:
                body = commits[found["revision"]][found["name"]]
                size = {"Content_Length": str(hub.large[found["name"]])} if found["name"] in hub.large else {}
                commit = hub.commit_of(found["repo"], found["revision"])
                self.answer(200, body, ETag=f'"{hashlib.sha256(body).hexdigest()}"', X_Repo_Commit=commit, **size)

        do_GET = do_HEAD = file  # noqa: N815

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            path = urlsplit(self.path).path
            if path == "/api/validate-yaml":
                self.tell({"errors": [], "warnings": []})
            elif token not in hub.tokens:
                self.answer(401, X_Error_Message="Invalid username or password.")
            elif path == "/api/repos/create":
                wanted = json.loads(body)
                repo = f"{wanted['organization']}/{wanted['name']}"
                hub.repositories.setdefault(repo, {})
                self.tell({"url": f"{hub.url}/{repo}"})
            elif "/preupload/" in path:
                files = [
                    {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for each in json.loads(body)["files"]
                ]
                self.tell({"files": files})
            elif "/commit/" in path:
                repo = "/".join(path.split("/")[3:5])
                files = {}
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                commit = hub.put(repo, files)
                self.tell(
                    {"commitUrl": f"{hub.url}/{repo}/commit/{commit}", "commitOid": commit, "pullRequestUrl": None}
                )
            else:
                self.answer(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
