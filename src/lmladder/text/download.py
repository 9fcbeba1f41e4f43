"""Downloading one file whose sha256 is known beforehand.

The bytes go to `<name>.part` beside the destination, which a later try continues, and take the
final name only when their sha256 is the expected one.
"""

import hashlib
import http.client
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lmladder.atomic import cannot_write, replace_durably
from lmladder.errors import InputError, RunError

CHUNK_BYTES = 1 << 16
TIMEOUT_SECONDS = 30.0  # for each wait on the network, not for the whole download


def fetch(
    url: str,
    destination: Path,
    *,
    sha256: str,
    max_bytes: int,
    schemes: tuple[str, ...] = ("https",),
) -> None:
    """Download `url` to `destination`, going on where an interrupted try stopped.

    Parameters
    ----------
    sha256 : of the whole file, in hexadecimal
    max_bytes : a longer file is refused
    schemes : the kinds of address allowed, for `url` and for wherever it redirects to

    Raises
    ------
    InputError
        If `url` is of another scheme.
    RunError
        If the network, the server or the disk fails, or what came is not what was expected.
    """
    _require_scheme(url, schemes)
    expected = sha256.lower()
    part = destination.with_name(destination.name + ".part")
    by_hand = f"run again to retry, or put the file at {destination} by hand"
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if _size(part) and _sha256(part) != expected:
            _download(url, part, max_bytes=max_bytes, schemes=schemes, by_hand=by_hand)
            if _sha256(part) != expected:  # it may have begun with bytes of another version
                part.unlink()
        if not _size(part):
            _download(url, part, max_bytes=max_bytes, schemes=schemes, by_hand=by_hand)
        found = _sha256(part)
        if found != expected:
            part.unlink()
            raise RunError(
                f"{url} has sha256 {found[:12]}, expected {expected[:12]}: it has changed or was "
                f"altered on the way; put the right file at {destination} by hand"
            )
        replace_durably(part, destination)
    except OSError as error:
        failure = cannot_write(destination, error)
        raise RunError(
            f"{failure}; set LMLADDER_DATA to a folder with space that can be written"
        ) from error


def _download(
    url: str, part: Path, *, max_bytes: int, schemes: tuple[str, ...], by_hand: str
) -> None:
    """Fill `part` up to the end of the file at `url`, or raise a RunError that tells why not."""
    try:
        with _open(url, _size(part), schemes) as response:
            begin = _first_byte(response)
            if begin not in (0, _size(part)):
                raise http.client.HTTPException("the server sent another part than asked for")
            size = _whole(response.headers.get("Content-Length"), otherwise=-1)
            total = None if size < 0 else begin + size
            received = _receive(response, part, begin=begin, total=total, max_bytes=max_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        raise RunError(f"cannot download {url}: HTTP {error.code}; {by_hand}") from error
    except (urllib.error.URLError, http.client.HTTPException, _NetworkError) as error:
        reason = " ".join(str(getattr(error, "reason", error) or type(error).__name__).split())
        raise RunError(f"cannot download {url}: {reason}; {by_hand}") from error
    if received > max_bytes:
        part.unlink(missing_ok=True)
        raise RunError(f"{url} is longer than the {max_bytes:,} bytes allowed")
    if total is not None and received < total:
        raise RunError(
            f"cannot download {url}: the connection ended after {received:,} of {total:,} bytes; "
            f"{by_hand}"
        )


class _NetworkError(Exception):
    """An OSError of the connection, told apart from those of the disk."""


@contextmanager
def _open(url: str, begin: int, schemes: tuple[str, ...]) -> Iterator[Any]:
    """The response to a request for the bytes from `begin` on, or for all where those are none."""
    opener = urllib.request.build_opener(_GuardedRedirects(schemes))
    request = urllib.request.Request(url, headers={"User-Agent": "lmladder"})
    if begin:
        request.add_header("Range", f"bytes={begin}-")
    with _as_network_errors():
        try:
            response = opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if not (begin and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
                raise
            error.close()
            request.remove_header("Range")
            response = opener.open(request, timeout=TIMEOUT_SECONDS)
    with response:
        yield response


def _first_byte(response: Any) -> int:
    """Where in the file the response begins: a server may ignore Range and send all of it."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    words = response.headers.get("Content-Range", "").replace("-", " ").split()
    return _whole(words[1] if len(words) > 1 else None, otherwise=-1)


def _whole(text: str | None, *, otherwise: int) -> int:
    """The number in a header, which may hold anything; a file of more digits would be too long."""
    digits = text is not None and text.isascii() and text.isdecimal() and len(text) < 20
    return int(text or "") if digits else otherwise


def _receive(response: Any, part: Path, *, begin: int, total: int | None, max_bytes: int) -> int:
    """Write the response to `part` from byte `begin` on; how long the file is, as far as known."""
    received = begin
    if total is not None and total > max_bytes:
        return total
    with open(part, "ab") as file, _progress(response.url, total) as advance:
        file.truncate(begin)
        advance(begin)
        while received <= max_bytes:
            with _as_network_errors():
                chunk = response.read(CHUNK_BYTES)
            if not chunk:
                break
            file.write(chunk)
            received += len(chunk)
            advance(len(chunk))
    return received


@contextmanager
def _progress(url: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of new bytes: a bar on a terminal, elsewhere one line."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        size = "" if total is None else f" ({total:,} bytes)"
        print(f"downloading {url}{size}", file=sys.stderr)
        yield lambda count: None
        return
    columns = (TextColumn("downloading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)


class _GuardedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never to a scheme that is not allowed."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in self._schemes:
            fp.close()
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_scheme(url: str, schemes: tuple[str, ...]) -> None:
    try:
        allowed = urllib.parse.urlsplit(url).scheme in schemes and not re.search(r"\s", url)
    except ValueError:
        allowed = False
    if not allowed:
        raise InputError(
            f"cannot download {url!r}: an address begins with {schemes[0]}:// and has no blanks"
        )


@contextmanager
def _as_network_errors() -> Iterator[None]:
    try:
        yield
    except urllib.error.URLError:
        raise
    except (OSError, ValueError) as error:
        raise _NetworkError(error) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
