"""Unpacks a ``.zip`` that somebody else may have made: bounded, and nothing outside of its folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from penstock_common.errors import PenstockError

MAX_MEMBERS = 10_000
MAX_EXPANDED_BYTES = 64 * 2**30
#: Of expanded to packed bytes, of each member and of all; weights hardly shrink, texts do to a tenth or so.
MAX_RATIO = 200
#: Expanded bytes for which the ratio does not matter.
_SMALL = 2**20
#: What macOS puts beside the members.
_IGNORED = "__MACOSX"


@contextmanager
def artifact_folder(path: Path) -> Iterator[Path]:
    """Yield an artifact's folder: ``path``, or one that has the content of the ``.zip`` that it is, and is removed then.

    Raises:
        PenstockError: 422 ``bad-artifact`` if it is another file, or an archive that is not safe to unpack.
    """
    if path.is_dir():
        yield path
        return
    if path.suffix.lower() != ".zip":
        raise _bad(path, "is a file; give the folder that holds model.yaml, or a .zip of it")
    with tempfile.TemporaryDirectory(prefix="penstock-") as temporary:
        yield unpack(path, Path(temporary))


def unpack(path: Path, folder: Path) -> Path:
    """Unpack an archive into a folder; return that, or the one folder in it that has everything.

    Raises:
        PenstockError: 422 ``bad-artifact`` naming the member at fault.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _checked(path, archive):
                _extract(path, archive, member, folder)
    except NotImplementedError as err:  # a later version of the format
        raise _bad(path, f"cannot be read: {err}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as err:
        raise _bad(path, f"is not a whole .zip: {str(err).rstrip('.') or 'it ends too early'}") from None
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _checked(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are files, once all of them are known to be safe."""
    members = [member for member in archive.infolist() if PurePosixPath(member.filename).parts[:1] != (_IGNORED,)]
    if len(members) > MAX_MEMBERS:
        raise _bad(path, f"has {len(members)} members, {MAX_MEMBERS} are allowed")
    for member in members:
        _check_member(path, member)
    expanded = sum(member.file_size for member in members)
    if expanded > MAX_EXPANDED_BYTES:
        raise _bad(path, f"expands to {expanded} bytes, {MAX_EXPANDED_BYTES} are allowed")
    # Members may share their packed bytes, so the whole is compared with the file.
    if expanded > max(_SMALL, MAX_RATIO * path.stat().st_size):
        raise _bad(path, f"expands to {expanded} bytes, more than {MAX_RATIO} times its own")
    files = [member for member in members if not member.is_dir()]
    names = {PurePosixPath(member.filename) for member in files}
    if len(names) != len(files):
        raise _bad(path, "has two members of one name")
    for name in names:
        if not names.isdisjoint(name.parents):
            raise _bad(path, f"member {str(name)!r} lies in a folder that is a file too")
    return files


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    reason = ""
    if name.startswith("/") or ":" in name or "\\" in name or not name.isprintable():
        reason = "is not a relative path of plain names; pack the folder with `zip -r`"
    elif ".." in name.split("/") or not PurePosixPath(name).parts:
        reason = "leaves the folder"
    elif kind == stat.S_IFLNK:
        reason = "is a link; pack the file that it points at"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is neither a file nor a folder"
    elif member.flag_bits & 1:
        reason = "is encrypted; pack it without a password"
    elif member.file_size > max(_SMALL, MAX_RATIO * member.compress_size):
        reason = f"expands from {member.compress_size} to {member.file_size} bytes, more than {MAX_RATIO} times"
    if reason:
        raise _bad(path, f"member {name[:200]!r} {reason}")


def _extract(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / member.filename
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, target.open("xb") as file:  # reads no more than `file_size`
            shutil.copyfileobj(packed, file)
    except (NotImplementedError, OSError, lzma.LZMAError) as err:
        why = err.strerror if isinstance(err, OSError) and err.strerror else err
        raise _bad(path, f"member {member.filename[:200]!r} cannot be unpacked: {why}") from None


def _bad(path: Path, what: str) -> PenstockError:
    return PenstockError(422, "bad-artifact", f"{path} {what}.")
