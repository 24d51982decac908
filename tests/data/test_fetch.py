"""Fetching over a real local server: hashes, fallbacks, locks, archives that try to leave their folder."""

import hashlib
import http.server
import multiprocessing
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rec_jax.data.fetch import Archive, Files, Unreachable, Wheel, download, ensure, extract
from rec_jax.data.registry import load
from rec_jax.errors import InputError


class Counting(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    folder, asked = tmp_path / "served", []
    folder.mkdir()
    handler = type("Handler", (Counting,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder, asked
        httpd.shutdown()
        thread.join()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(path: Path, members: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return digest(path.read_bytes())


def test_an_archive_is_fetched_verified_and_taken_apart(server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    url, folder, asked = server
    sha = zipped(folder / "a.zip", {"set/log": "1 2\n", "set/other": "x"})
    here = tmp_path / "cache"
    routes = [(("log",), Archive(f"{url}/a.zip", sha, {"set/log": "log"}))]
    assert ensure("set", here, routes) == 0
    assert (here / "log").read_text() == "1 2\n"
    assert sorted(p.name for p in here.iterdir()) == [".lock", "log"]
    assert ensure("set", here, routes) == 0
    assert asked == ["/a.zip"]  # the second time nothing is fetched


def test_a_checksum_that_differs_keeps_nothing(server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    url, folder, _ = server
    (folder / "f").write_text("changed")
    here = tmp_path / "cache"
    with pytest.raises(InputError, match="checksum differs"):
        ensure("set", here, [(("f",), Files(url, {"f": digest(b"original")}))])
    assert [p.name for p in here.iterdir()] == [".lock"]


def test_the_next_source_is_tried(server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    url, folder, _ = server
    (folder / "good").write_text("data")
    bad = Archive("http://127.0.0.1:9/none.zip", "0" * 64, {"x": "x"})
    here = tmp_path / "cache"
    assert ensure("set", here, [(("x",), bad), (("good",), Files(url, {"good": digest(b"data")}))]) == 1


def test_no_network_and_no_fallback_says_what_to_do(tmp_path: Path) -> None:
    routes = [(("x",), Archive("http://127.0.0.1:9/none.zip", "0" * 64, {"x": "x"}))]
    with pytest.raises(InputError, match=r"no source could be had(.|\n)*Put x into .* or name a folder .* --data-dir"):
        ensure("set", tmp_path / "cache", routes)


def test_a_wheel_that_cannot_be_had_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="pip download"):
        Wheel("rec-jax-no-such-package==0.0.0", "0" * 64, {}).fetch(tmp_path)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", "C:\\escaped", "..\\escaped"])
def test_a_zip_that_tries_to_leave_its_folder(tmp_path: Path, name: str) -> None:
    archive, here = tmp_path / "evil.zip", tmp_path / "inside"
    zipped(archive, {"good": "x", name: "y"})
    with pytest.raises(InputError, match="would leave the folder"):
        extract(archive, here, {"good": "good"})
    assert not here.exists()
    assert not (tmp_path / "escaped").exists()


def test_not_a_zip_and_a_missing_member(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>")
    with pytest.raises(InputError, match="is not a zip archive"):
        extract(tmp_path / "a.zip", tmp_path, {})
    zipped(tmp_path / "b.zip", {"a": ""})
    with pytest.raises(InputError, match="has no member 'b'"):
        extract(tmp_path / "b.zip", tmp_path, {"b": "b"})


def fetch_in_a_process(url: str, folder: Path, sha: str) -> None:
    ensure("set", folder, [(("f",), Files(url, {"f": sha}))])


def test_two_processes_fetch_once(server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    url, folder, asked = server
    data = b"x" * 3_000_000
    (folder / "f").write_bytes(data)
    context = multiprocessing.get_context("spawn")
    here = tmp_path / "cache"
    workers = [context.Process(target=fetch_in_a_process, args=(url, here, digest(data))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert asked == ["/f"]
    assert (here / "f").read_bytes() == data


@pytest.mark.parametrize("answer", [b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nonly this", b"nonsense\r\n"])
def test_a_download_cut_off_leaves_nothing(tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unreachable, match=r"cut off after 9 of 1,000 bytes|nonsense"):
            download(f"http://127.0.0.1:{listener.getsockname()[1]}/f", tmp_path / "f", None)
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_propose_near_ones() -> None:
    with pytest.raises(InputError, match="did you mean ml-100k"):
        load("ml100k")


def test_counts_are_checked(tmp_path: Path) -> None:
    (tmp_path / "ml-1m" / "sasrec").mkdir(parents=True)
    (tmp_path / "ml-1m" / "sasrec" / "ml-1m.txt").write_text("1 1\n1 2\n")
    with pytest.raises(
        InputError, match=r"expected \(users, items, interactions\) \(6040, 3416, 999611\), found \(1, 2, 2\)"
    ):
        load("ml-1m-sasrec", tmp_path)


def test_an_unwritable_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        load("ml-100k", tmp_path / "file")
