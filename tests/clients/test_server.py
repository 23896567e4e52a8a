from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request

import pytest
from client_checks.litert_js.server import Server


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "model.wasm").write_bytes(b"wasm")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return tmp_path / "open"


@pytest.fixture
def server(folder):
    with Server({"/": b"<!doctype html>"}, {"/files/": folder}) as server:
        yield server


def test_texts_and_files_are_served_with_their_types(server):
    with urllib.request.urlopen(server.address) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"<!doctype html>", "text/html")
    with urllib.request.urlopen(f"{server.address}files/model.wasm") as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"wasm", "application/wasm")


@pytest.mark.parametrize("path", ["files/../secret.txt", "files/%2e%2e/secret.txt", "secret.txt", "files/"])
def test_nothing_outside_of_the_folders_is_served_and_what_is_missing_is_noted(server, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{server.address}{path}")
    refused.value.close()
    assert refused.value.code == 404
    assert server.missing


def test_what_is_posted_is_waited_for(server):
    def post():
        time.sleep(0.2)
        request = urllib.request.Request(f"{server.address}answers", json.dumps({"answers": [1]}).encode())
        urllib.request.urlopen(request).close()

    threading.Thread(target=post).start()
    assert server.wait(10, lambda: True) == {"answers": [1]}


def test_waiting_ends_when_the_browser_has_ended_or_time_is_up(server):
    assert server.wait(60, lambda: False) is None
    assert server.wait(0.2, lambda: True) is None
