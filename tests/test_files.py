"""Files appear whole or not at all, and a missing one is named."""

import gzip
import lzma
import os
import stat
import subprocess
import sys
import threading

import pytest

from rankrl.errors import DataError
from rankrl.files import atomic_writer, open_text


def test_a_file_appears_when_the_block_ends_and_parents_are_made(tmp_path):
    target = tmp_path / "a" / "b.txt"
    with atomic_writer(target) as file:
        file.write("naïve\n")
        assert not target.exists()
    assert target.read_bytes() == "naïve\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_block_leaves_what_was_there_and_no_half_file(tmp_path):
    target = tmp_path / "b.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_writer(target) as file:
        file.write("new")
        1 / 0  # noqa: B018
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_permissions_are_those_of_the_old_file_or_the_umasks(tmp_path):
    plain, private = tmp_path / "plain", tmp_path / "private"
    (tmp_path / "made").write_text("")
    private.write_text("")
    private.chmod(0o600)
    for target in (plain, private):
        with atomic_writer(target) as file:
            file.write("x")
    assert stat.S_IMODE(plain.stat().st_mode) == stat.S_IMODE((tmp_path / "made").stat().st_mode)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_compressed_files_are_read_as_text(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / "x.xz").write_bytes(lzma.compress(b"two\n"))
    for name, text in (("x.gz", "one\n"), ("x.xz", "two\n")):
        with open_text(tmp_path / name, what="run") as file:
            assert file.read() == text


def test_what_is_not_there_or_a_folder_is_said_with_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="qrels not found: "):
        open_text(tmp_path / "gone", what="qrels")
    with pytest.raises(DataError, match="run is a folder"):
        open_text(tmp_path, what="run")
    with pytest.raises(DataError, match="is a folder"), atomic_writer(tmp_path):
        pass


def test_a_link_stays_a_link_and_a_pipe_stays_a_pipe(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_writer(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    with atomic_writer(tmp_path / "pipe") as file:
        file.write("through")
    reader.join(timeout=10)
    assert read == ["through"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_sigterm_leaves_no_half_written_file(tmp_path):
    code = (
        "import sys, time; from rankrl.files import atomic_writer, clean_up_on_sigterm; clean_up_on_sigterm()\n"
        "with atomic_writer(sys.argv[1]) as file:\n    file.write('x' * 100_000); print('writing', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.terminate()
    assert process.wait(timeout=30) == 143 and list(tmp_path.iterdir()) == []
