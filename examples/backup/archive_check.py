"""Reads the archive of the demo by other means than those that wrote it, and compares it with the data."""

import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_tree import make_data_tree


@dataclass(frozen=True, slots=True)
class Archive:
    """What lies on disk: the archive's own size and SHA-256, and what is in it."""

    path: Path | None = None
    size: int = 0
    sha256: str = ""
    problem: str | None = None
    digests: dict[bytes, str] = field(default_factory=dict)
    """SHA-256 of each file, by its name in the archive."""
    links: dict[bytes, str] = field(default_factory=dict)
    manifest: bytes = b""

    @property
    def files(self) -> int:
        """How many files of the data are in it: the list of checksums is none of them."""
        return len(self.digests)

    @classmethod
    def find(cls, folder: Path) -> "Archive":
        """Read the one archive below ``folder``; what is wrong with it is in ``problem``."""
        found = sorted((folder / "backups").glob("*.tar.gz"))
        if len(found) != 1:
            return cls(problem=f"{len(found)} archives in {folder / 'backups'}")
        raw = found[0].read_bytes()
        archive = cls(found[0], len(raw), hashlib.sha256(raw).hexdigest())
        try:
            return archive._opened()
        except (tarfile.TarError, OSError, EOFError) as error:
            return cls(found[0], archive.size, archive.sha256, f"{found[0]}: {type(error).__name__}: {error}")

    def _opened(self) -> "Archive":
        digests, links, manifest = {}, {}, b""
        with tarfile.open(self.path, encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                name = member.name.removeprefix("./").encode("utf-8", "surrogateescape")
                if member.issym():
                    links[name] = member.linkname
                elif member.isfile() and (content := tar.extractfile(member)) is not None:
                    data = content.read()
                    digests[name] = hashlib.sha256(data).hexdigest()
                    if name == b"SHA256SUMS":
                        manifest = data
        digests.pop(b"SHA256SUMS", None)
        return Archive(self.path, self.size, self.sha256, None, digests, links, manifest)


def check_archive(folder: Path, archive: Archive) -> Iterator[str]:
    """Yield what is wrong: against its own list of checksums, the data as it was made, and the mirror."""
    if archive.path is None or archive.problem:
        yield archive.problem or "there is no archive"
        return
    yield from _differences("list of checksums", _parse(archive.manifest), archive.digests)
    with tempfile.TemporaryDirectory() as again:
        made = Path(again, "data")
        made.mkdir()
        make_data_tree(made)
        original, links = _read(made)
    yield from (f"link {name!r} is missing or different" for name in links if archive.links.get(name) != links[name])
    now, _ = _read(folder / "data")
    added = {name: digest for name, digest in now.items() if name in archive.digests and name not in original}
    yield from _differences("data", original | added, archive.digests)
    mirrored = folder / "mirror" / archive.path.name
    if not mirrored.is_file() or hashlib.sha256(mirrored.read_bytes()).hexdigest() != archive.sha256:
        yield f"{mirrored} is no copy of {archive.path}"


def _read(data: Path) -> tuple[dict[bytes, str], dict[bytes, str]]:
    """Return SHA-256 of each file and target of each link below ``data``, by name."""
    digests, links = {}, {}
    for path in data.rglob("*"):
        name = bytes(Path("data") / path.relative_to(data))
        if path.is_symlink():
            links[name] = str(path.readlink())
        elif path.is_file():
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests, links


def _parse(manifest: bytes) -> dict[bytes, str]:
    """Return the digests of a list as sha256sum(1) writes it, by name."""
    found = {}
    for line in manifest.removesuffix(b"\n").split(b"\n"):
        escaped = line.startswith(b"\\")
        digest, _, name = line.removeprefix(b"\\").partition(b"  ")
        if escaped:
            name = b"\\".join(part.replace(b"\\n", b"\n") for part in name.split(b"\\\\"))
        found[name] = digest.decode("ascii", "replace")
    return found


def _differences(what: str, expected: dict[bytes, str], found: dict[bytes, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            where = "missing" if name not in found else f"not in the {what}" if name not in expected else "different"
            yield f"{name!r}: {where}"
