import errno
import hashlib
import os
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from lmladder.errors import InputError, RunError
from lmladder.text import download

import pytest

DATA = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()

fetch = partial(download.fetch, sha256=SHA256, max_bytes=len(DATA), schemes=("http",))


class Server(ThreadingHTTPServer):
    """A server on this machine that sends `data`, and misbehaves as told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.honours_ranges = True
        self.sends_length = True
        self.cut_at = None  # close the connection after so many bytes of the file
        self.status = None  # answer with this error
        self.redirect = None
        self.told = None  # in place of the true numbers in headers
        self.ranges = []  # the Range header of each request

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/text.txt"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        begin = 0
        if server.honours_ranges and asked:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        if server.status:
            self.send_error(server.status)
        elif server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
        elif begin >= len(server.data):
            self.send_error(416)
        else:
            self.send_data(begin)

    def send_data(self, begin):
        data = self.server.data
        self.send_response(206 if begin else 200)
        if begin:
            first = self.server.told or begin
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        if self.server.sends_length:
            self.send_header("Content-Length", self.server.told or str(len(data) - begin))
        self.end_headers()
        with suppress(OSError):  # the client has heard enough
            self.wfile.write(data[begin : self.server.cut_at])

    def log_message(self, *arguments):
        pass


@contextmanager
def running():
    server = Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with running() as server:
        yield server


@pytest.fixture
def destination(tmp_path):
    return tmp_path / "cache" / "text.txt"


def files(destination):
    return sorted(os.listdir(destination.parent))


def failure(url, destination, **options):
    """The one-line message with which `fetch` fails."""
    with pytest.raises(RunError) as error:
        fetch(url, destination, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_arrives_whole_in_a_folder_that_did_not_exist(server, destination, capsys):
    fetch(server.url, destination)
    assert destination.read_bytes() == DATA
    assert files(destination) == ["text.txt"]
    assert capsys.readouterr().err == f"downloading {server.url} (256,000 bytes)\n"


def test_a_file_of_untold_length_arrives_whole(server, destination):
    server.sends_length = False
    fetch(server.url, destination)
    assert destination.read_bytes() == DATA


def test_an_interrupted_download_goes_on_where_it_stopped(server, destination):
    server.cut_at = 100_000
    message = failure(server.url, destination)
    assert "ended after 100,000 of 256,000 bytes" in message
    assert server.url in message
    assert f"put the file at {destination} by hand" in message
    assert files(destination) == ["text.txt.part"]
    server.cut_at = None
    fetch(server.url, destination)
    assert destination.read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-"]
    assert files(destination) == ["text.txt"]


def test_a_server_that_ignores_ranges_sends_the_file_anew(server, destination):
    server.cut_at = 100_000
    failure(server.url, destination)
    server.cut_at, server.honours_ranges = None, False
    fetch(server.url, destination)
    assert destination.read_bytes() == DATA


def test_a_beginning_of_another_version_is_thrown_away(server, destination):
    destination.parent.mkdir()
    destination.with_name("text.txt.part").write_bytes(b"an older version")
    fetch(server.url, destination)
    assert destination.read_bytes() == DATA
    assert server.ranges == ["bytes=16-", None]


def test_a_beginning_longer_than_the_file_is_thrown_away(server, destination):
    destination.parent.mkdir()
    destination.with_name("text.txt.part").write_bytes(DATA + b"more")
    fetch(server.url, destination)
    assert destination.read_bytes() == DATA


def test_a_download_that_only_lacks_its_name_needs_no_network(destination):
    destination.parent.mkdir()
    destination.with_name("text.txt.part").write_bytes(DATA)
    fetch("http://127.0.0.1:1/text.txt", destination)
    assert destination.read_bytes() == DATA
    assert files(destination) == ["text.txt"]


@pytest.mark.parametrize("told", ["9" * 5_000, "-1", "1e3", "\u00b2", "many"])
def test_numbers_in_headers_may_be_anything(server, destination, told):
    server.told = told
    fetch(server.url, destination)  # without a length that can be believed
    assert destination.read_bytes() == DATA
    destination.unlink()
    destination.with_name("text.txt.part").write_bytes(DATA[:9])
    assert "another part than asked for" in failure(server.url, destination)


def test_a_wrong_sha256_leaves_nothing(server, destination):
    server.data = DATA[::-1]
    message = failure(server.url, destination)
    found = hashlib.sha256(server.data).hexdigest()[:12]
    assert f"{server.url} has sha256 {found}, expected {SHA256[:12]}" in message
    assert files(destination) == []


def test_an_older_file_survives_a_failed_download(server, destination):
    destination.parent.mkdir()
    destination.write_bytes(b"old")
    server.data = DATA[::-1]
    failure(server.url, destination)
    assert destination.read_bytes() == b"old"


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_file_too_long_is_refused(server, destination, sends_length):
    server.sends_length = sends_length
    message = failure(server.url, destination, max_bytes=1000)
    assert message == f"{server.url} is longer than the 1,000 bytes allowed"
    assert files(destination) == []


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server_is_told_with_what_to_do(server, destination, status):
    server.status = status
    message = failure(server.url, destination)
    assert message == (
        f"cannot download {server.url}: HTTP {status}; run again to retry, "
        f"or put the file at {destination} by hand"
    )


def test_no_server_at_all_is_told_with_what_to_do(destination, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with running() as server:
        url = server.url
    message = failure(url, destination)
    assert f"cannot download {url}: " in message
    assert "Connection refused" in message
    assert f"put the file at {destination} by hand" in message


def test_a_redirect_is_followed(server, destination):
    with running() as other:
        other.redirect = server.url
        fetch(other.url, destination)
    assert destination.read_bytes() == DATA


@pytest.mark.parametrize("target", ["https://127.0.0.1:1/", "ftp://127.0.0.1/", "file:///etc"])
def test_a_redirect_to_another_scheme_is_refused(server, destination, target):
    server.redirect = target
    assert f"cannot download {server.url}: " in failure(server.url, destination)
    assert files(destination) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a",
        "file:///etc/passwd",
        "a.txt",
        "http://[",
        "https://a b",
        "https://a\n",
    ],
)
def test_only_https_is_allowed(destination, url):
    with pytest.raises(InputError, match="begins with https://"):
        download.fetch(url, destination, sha256=SHA256, max_bytes=10)


def test_a_cache_that_cannot_be_written_is_told_with_the_remedy(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    destination = tmp_path / "cache" / "text.txt"
    message = failure(server.url, destination)
    assert f"cannot write {destination}: " in message
    assert "set LMLADDER_DATA" in message


def test_a_full_disk_is_told_as_such_and_not_as_network_trouble(server, destination, monkeypatch):
    def full(side, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "replace_durably", full)
    assert f"cannot write {destination}: No space left" in failure(server.url, destination)


def test_a_terminal_is_shown_a_bar(server, destination, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    fetch(server.url, destination)
    assert "256.0/256.0 kB" in capsys.readouterr().err
