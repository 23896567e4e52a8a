"""Serves a page on this machine and waits for what it posts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

TYPES = {".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", "": "text/html"}
MAX_POSTED_BYTES = 64 * 1024 * 1024


class Server:
    """A web server on 127.0.0.1: `texts` by path, files by the start of the path; a context manager.

    Attributes:
        missing: Paths that were asked for and are not there.
    """

    def __init__(self, texts: Mapping[str, bytes], folders: Mapping[str, Path]) -> None:
        self.missing: set[str] = set()
        self._texts, self._folders = texts, folders
        self._posted: dict[str, Any] | None = None
        self._came = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def content(self, address: str) -> bytes | None:
        """Return what stands at `address`, or None; no path leads out of the folders."""
        path = unquote(urlsplit(address).path)
        if path in self._texts:
            return self._texts[path]
        for start, folder in self._folders.items():
            file = (folder / path.removeprefix(start)).resolve()
            if path.startswith(start) and file.is_relative_to(folder.resolve()) and file.is_file():
                return file.read_bytes()
        self.missing.add(path)
        return None

    def wait(self, timeout_s: float, alive: Callable[[], bool]) -> dict[str, Any] | None:
        """Return what the page posted; None after `timeout_s`, or when nobody is `alive` to post."""
        until = time.monotonic() + timeout_s
        while not self._came.wait(0.1) and alive() and time.monotonic() < until:
            pass
        return self._posted

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _accept(self, body: bytes) -> None:
        self._posted = json.loads(body)
        self._came.set()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = server.content(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", TYPES.get(Path(self.path).suffix, "application/octet-stream"))
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length", 0)), MAX_POSTED_BYTES)
                body = self.rfile.read(length)
                self.send_response(204)
                self.end_headers()
                server._accept(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: requests of a page are no news."""

        return Handler
