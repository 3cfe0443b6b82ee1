"""Archives are unpacked into their folder, and those that would do anything else are refused."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from penstock_cli import archive
from penstock_cli.archive import artifact_folder, unpack
from penstock_common.errors import PenstockError


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def refusal(path: Path, folder: Path) -> str:
    """Why an archive is refused; nothing may have been written outside of its folder."""
    folder.mkdir()
    beside = set(folder.parent.iterdir())
    with pytest.raises(PenstockError) as refused:
        unpack(path, folder)
    assert (refused.value.status, refused.value.code) == (422, "bad-artifact")
    assert set(folder.parent.iterdir()) == beside
    return refused.value.detail


@pytest.mark.parametrize("prefix", ["", "spam/"])
def test_files_are_found_at_the_top_or_in_the_only_folder(prefix: str, tmp_path: Path) -> None:
    """With what they hold; what macOS adds is left out."""
    members = {
        f"{prefix}model.yaml": b"format: onnx",
        f"{prefix}weights/a.bin": bytes(9),
        "__MACOSX/._model.yaml": b"x",
    }
    with artifact_folder(packed(tmp_path / "spam.zip", members)) as folder:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"model.yaml": b"format: onnx", "weights/a.bin": bytes(9)}
    assert not folder.exists()


def test_a_folder_is_taken_as_it_is_and_another_file_is_not(tmp_path: Path) -> None:
    """The remedy names what can be given."""
    with artifact_folder(tmp_path) as folder:
        assert folder == tmp_path
    (tmp_path / "model.onnx").touch()
    with (
        pytest.raises(PenstockError, match=r"give the folder that holds model\.yaml, or a \.zip"),
        artifact_folder(tmp_path / "model.onnx"),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("/etc/cron.d/x", "is not a relative path"),
        ("../x", "leaves the folder"),
        ("a/../../x", "leaves the folder"),
        ("C:/x", "is not a relative path"),
        ("..\\x", "is not a relative path"),
        ("a\nb", "is not a relative path"),
        (".", "leaves the folder"),
    ],
)
def test_a_member_outside_of_the_folder_is_refused(name: str, told: str, tmp_path: Path) -> None:
    """By its name, which the error shows; nothing is unpacked, not even the members before it."""
    path = packed(tmp_path / "m.zip", {"model.yaml": b"", name: b"x"})
    assert f"member {name!r} {told}" in refusal(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("kind", "told"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is neither a file nor")])
def test_links_and_devices_are_refused(kind: int, told: str, tmp_path: Path) -> None:
    """A link to /etc would take the next member there."""
    member = zipfile.ZipInfo("link")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        file.writestr(member, "/etc")
        file.writestr("link/passwd", "x")
    assert f"member 'link' {told}" in refusal(tmp_path / "m.zip", tmp_path / "out")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A member of zeros, by its ratio."""
    path = packed(tmp_path / "m.zip", {"zeros": bytes(20 * 2**20)})
    assert "member 'zeros' expands from" in refusal(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_members_that_share_their_bytes_are_a_bomb_too(tmp_path: Path) -> None:
    """Each has a harmless ratio, all together do not (Fifield, 2019, "A better zip bomb")."""
    path = packed(tmp_path / "one.zip", {"00000": os.urandom(4096) * 8})
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry = whole[start:end]
    count = 9000
    entries = b"".join(entry.replace(b"00000", b"%05d" % i) for i in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entries), start, 0)
    (tmp_path / "m.zip").write_bytes(whole[:start] + entries + tail)
    assert "more than 200 times its own" in refusal(tmp_path / "m.zip", tmp_path / "out")


def test_a_member_that_is_larger_than_it_says_is_not_unpacked_further(tmp_path: Path) -> None:
    """The size in the directory is a bound of what is written; the checksum then shows the lie."""
    path = packed(tmp_path / "m.zip", {"zeros": bytes(20 * 2**20)})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", content, content.index(signature) + offset, 1000)
    path.write_bytes(content)
    assert "is not a whole .zip: Bad CRC-32 for file 'zeros'" in refusal(path, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size <= 1000


def test_the_number_of_members_and_the_expanded_bytes_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both bounds are named."""
    path = packed(tmp_path / "m.zip", {str(i): b"abc" for i in range(5)})
    monkeypatch.setattr(archive, "MAX_MEMBERS", 4)
    assert "has 5 members, 4 are allowed" in refusal(path, tmp_path / "a")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_EXPANDED_BYTES", 14)
    assert "expands to 15 bytes, 14 are allowed" in refusal(path, tmp_path / "b")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "a"), "two members of one name"),
        (("a", "./a"), "two members"),
        (("a", "a/b"), "member 'a/b' lies in a folder"),
    ],
)
def test_members_that_cannot_all_be_files_are_refused(names: tuple[str, str], told: str, tmp_path: Path) -> None:
    """One would hide the other."""
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        for name in names:
            file.writestr(name, "x")
    assert told in refusal(tmp_path / "m.zip", tmp_path / "out")


def test_encrypted_and_broken_archives_are_refused(tmp_path: Path) -> None:
    """A password, half a file, no archive at all, and a byte that was changed."""
    whole = packed(tmp_path / "m.zip", {"a": os.urandom(5000)}, zipfile.ZIP_STORED).read_bytes()
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    changed = bytearray(whole)
    changed[3000] ^= 1
    cases = {"encrypted": encrypted, "not a whole .zip": whole[:3000], "Bad CRC": changed, "not a zip file": b"text"}
    for number, (told, content) in enumerate(cases.items()):
        (tmp_path / "m.zip").write_bytes(content)
        assert told in refusal(tmp_path / "m.zip", tmp_path / str(number))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_bytes_that_are_damaged_are_refused(method: int, tmp_path: Path) -> None:
    """Each way of packing has its own errors; all of them name the member."""
    path = packed(tmp_path / "a.zip", {"a.txt": os.urandom(5000)}, method)
    content = bytearray(path.read_bytes())
    content[60:1000] = bytes(940)
    path.write_bytes(content)
    assert "a.txt" in refusal(path, tmp_path / "out")


def test_a_name_that_the_disk_does_not_take_is_refused(tmp_path: Path) -> None:
    """Only its start is quoted."""
    path = packed(tmp_path / "a.zip", {"a" * 300: b"x"})
    assert refusal(path, tmp_path / "out").endswith("cannot be unpacked: File name too long.")


def test_a_later_version_of_the_format_is_refused(tmp_path: Path) -> None:
    """The directory says which version a member needs."""
    path = packed(tmp_path / "a.zip", {"a.txt": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 255
    path.write_bytes(content)
    assert "zip file version" in refusal(path, tmp_path / "out")
