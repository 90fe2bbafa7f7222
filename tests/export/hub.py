"""A stand-in for the Hugging Face Hub: the few addresses of its HTTP API that uploading and downloading need."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standinstandinstandinstandinstandin"
COMMIT = "1" * 40


class Hub:
    """``files``: what was uploaded, by repository and path; ``created``: the repositories, as they were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        self.address = ""

    @contextmanager
    def running(self) -> Iterator[Hub]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.hub.created.append(asked)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            self.hub.files.setdefault(name, {})
            return self._answer(200, {"url": f"{self.hub.address}/{name}", "name": name})
        if "/preupload/" in self.path:
            wanted = [file["path"] for file in json.loads(body)["files"]]
            return self._answer(
                200, {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in wanted]}
            )
        if "/commit/" in self.path:
            repository = "/".join(self.path.split("/")[3:5])
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.hub.files[repository][value["path"]] = base64.b64decode(value["content"])
            url = f"{self.hub.address}/{repository}/commit/{COMMIT}"
            return self._answer(200, {"success": True, "commitUrl": url, "commitOid": COMMIT})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        return self._unknown()

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        self._file(with_body=True)

    def _file(self, with_body: bool) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if len(parts) < 5 or parts[2] != "resolve":
            return self._unknown()
        content = self.hub.files.get("/".join(parts[:2]), {}).get("/".join(parts[4:]))
        if content is None:
            return self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _unknown(self) -> None:
        self.hub.unknown.append(f"{self.command} {self.path}")
        self._answer(404, {"error": "not known here"})

    def _answer(self, status: int, contents: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(contents).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
