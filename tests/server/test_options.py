"""Where the server listens and whom it answers: what cannot be meant is one line."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from typer.testing import CliRunner

from glip_cli.cli.app import app
from glip_cli.detector import Detector
from glip_cli.errors import OptionError, UsageError
from glip_cli.server.options import ServeOptions
from glip_cli.server.run import bind, run, server_of
from tests.server.serving import serving


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"host": "0.0.0.0"}, "host 0.0.0.0: others can reach it: give --token, which they then must send"),
        ({"token": ""}, "token '': it is empty; give one, or neither --token nor GLIP_TOKEN"),
        ({"allow_origin": ["https://example.org/"]},
         "allow_origin https://example.org/: give scheme and host alone, as https://example.org"),
        ({"allow_origin": ["example.org"]},
         "allow_origin example.org: give scheme and host alone, as https://example.org"),
        ({"allow_origin": ["https://Example.org"]},
         "allow_origin https://Example.org: give scheme and host alone, as https://example.org"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(given: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        ServeOptions(**given)
    assert str(caught.value) == line


@pytest.mark.parametrize("token", ["a\n", " a", "a ", "a\tb", "a\x7f", "\u00e4"])
def test_a_token_that_no_client_can_send(token: str) -> None:
    with pytest.raises(OptionError, match=r"^token \*\*\*: it has outer blanks, line ends or letters beyond ASCII"):
        ServeOptions(token=token)


@pytest.mark.parametrize("token", ["a b", "=:\"'\\,;~", "Bearer x", "0" * 4000])
def test_a_token_of_odd_characters(detector: Detector, token: str) -> None:
    with serving(detector, ServeOptions(port=0, token=token)) as url:

        def status(**how: Any) -> int:
            return requests.get(f"{url}/model", timeout=60, **how).status_code

        assert status(headers={"Authorization": f"Bearer {token}"}) == 200
        assert status(auth=("anyone", token)) == 200
        assert status(headers={"Authorization": f"Bearer {token}x"}) == 401
        assert status(headers={"Authorization": f"Bearer {token[:-1]}"}) == 401


@pytest.mark.parametrize("origin", ["*", "null", "http://localhost:3000", "https://a.example", "app://obsidian.md"])
def test_origins(origin: str) -> None:
    assert ServeOptions(allow_origin=[origin]).allow_origin == (origin,)


def test_a_page_of_an_allowed_origin_reads_what_is_wrong(detector: Detector) -> None:
    allowed, allow = "https://a.example", "Access-Control-Allow-Origin"
    with serving(detector, ServeOptions(port=0, token="x", allow_origin=[allowed])) as url:

        def ask(method: str, origin: str, **headers: str) -> requests.Response:
            return requests.request(method, f"{url}/model", headers={"Origin": origin, **headers}, timeout=60)

        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        first = ask("OPTIONS", allowed, **preflight)
        assert (first.status_code, first.headers[allow]) == (200, allowed)
        missing = ask("GET", allowed)
        assert (missing.status_code, missing.headers[allow]) == (401, allowed)
        for answer in (ask("GET", "https://b.example"), ask("OPTIONS", "https://b.example", **preflight)):
            assert 400 <= answer.status_code < 500
            assert allow not in answer.headers


def test_an_address_that_is_taken() -> None:
    first = bind(ServeOptions(port=0))
    first.listen()
    port = first.getsockname()[1]
    with first, pytest.raises(UsageError) as caught:
        bind(ServeOptions(port=port))
    assert str(caught.value) == (
        f"--host 127.0.0.1 --port {port}: Address already in use; take another port, 0 for a free one"
    )


def test_an_address_that_another_server_took_meanwhile() -> None:
    """Two that load their models at the same time may both bind it."""
    with bind(ServeOptions(port=0)) as first:
        assert (
            first.proto == socket.IPPROTO_TCP
        )  # else asyncio leaves out TCP_NODELAY, and each answer takes 40 ms more
        options = ServeOptions(port=first.getsockname()[1])
        with bind(options) as second:
            first.listen()
            with pytest.raises(UsageError, match="Address already in use; take another port"):
                run(FastAPI(), second, options, lambda: None)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UsageError, match="give an address of this machine"):
        bind(ServeOptions(host="192.0.2.1", token="x"))


@pytest.mark.parametrize("name", ["prometheus_client", "python_multipart"])
def test_a_package_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI and uvicorn may be there for something else; these are asked for before the model is loaded too."""
    monkeypatch.setitem(sys.modules, name, None)
    result = CliRunner().invoke(app, ["serve", "-m", "glip-nano", "--host", "192.0.2.1", "--token", "x"])
    assert result.exit_code == 2
    assert f"glip serve needs {name}, which is not installed: pip install 'glip-cli[serve]'" in result.stderr


def test_connections_that_have_no_file_are_said_once(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Asyncio says so thousands of times a second, with a traceback each."""

    async def fail() -> None:
        server = server_of(FastAPI(), ServeOptions(port=0), lambda: None)
        loop = asyncio.get_running_loop()
        for message in ("socket.accept() out of system resource",) * 3 + ("another",) * 2:
            server._log_error(loop, {"message": message})

    asyncio.run(fail())
    assert capsys.readouterr().err.count("too many connections are open; more wait until others close") == 1
    assert [record.message for record in caplog.records] == ["another", "another"]
