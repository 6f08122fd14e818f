"""Files are whole or absent, also on a full disk and after a kill; locks wait and say so."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cxr_kd.errors import StorageError
from cxr_kd.files import check_room, disk_errors, locked, read_json, write_json, written_whole

LIMITED = """
import json, resource, sys
from pathlib import Path
from cxr_kd.errors import StorageError
from cxr_kd.files import write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_json(Path(sys.argv[1]), list(range(5000)))
except StorageError as error:
    print(error)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from cxr_kd.files import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDING = """
import sys
from pathlib import Path
from cxr_kd.files import locked
with locked(Path(sys.argv[1]), "busy: waiting"):
    print("held", flush=True)
    sys.stdin.read()
"""


def python(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)


def test_a_disk_that_is_full_leaves_the_old_file_and_one_sentence(tmp_path: Path):
    path = tmp_path / "card.json"
    write_json(path, {"old": True})
    done = python(LIMITED, path)  # EFBIG stands for ENOSPC, which needs a disk of its own
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write to {tmp_path} (File too large): make room")
    assert done.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == ["card.json"]
    assert read_json(path) == {"old": True}


def test_no_room_and_no_permission_are_storage_errors_and_content_errors_are_not(tmp_path: Path):
    if Path("/dev/full").exists():
        with pytest.raises(StorageError, match="No space left on device"), disk_errors(tmp_path):
            Path("/dev/full").write_text("anything")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write to .*file"):
        write_json(tmp_path / "file" / "card.json", {})
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "copy") as temporary:
        temporary.write_bytes((tmp_path / "missing").read_bytes())
    assert os.listdir(tmp_path) == ["file"]


def test_temporary_files_of_killed_writers_are_removed_at_the_next_write(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    assert python(KILLED, path).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    running = left.with_name(left.name.replace(left.suffixes[-2].split("-")[1], str(os.getppid())))
    others = [running, tmp_path / ".lock", tmp_path / ".model.safetensors.0badcafe-1.safetensors"]
    for path_of_another in others:
        path_of_another.write_text("of a running writer, of no writer, of a writer on another machine")
    with written_whole(path) as temporary:
        temporary.write_text("whole")
    assert set(tmp_path.iterdir()) == {path, *others}
    assert path.read_text() == "whole"


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_written_files_have_the_permissions_that_the_umask_asks_for(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        with written_whole(tmp_path / "model.safetensors") as temporary:  # which safetensors makes private
            safetensors.torch.save_file({"weight": torch.zeros(2)}, temporary)
        write_json(tmp_path / "card.json", {})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_room_is_checked_in_folders_that_do_not_exist_yet(tmp_path: Path):
    check_room(tmp_path / "a" / "b", 1, "the cache")
    with pytest.raises(StorageError, match=r"a/b: the cache needs 1000000000\.0 GB more and .* free: make room"):
        check_room(tmp_path / "a" / "b", 10**18, "the cache")
    assert not (tmp_path / "a").exists()


def test_a_lock_that_is_held_is_waited_for_with_a_message(tmp_path: Path):
    path = tmp_path / "new" / ".lock"
    with holding(path) as first:
        assert first.stdout.readline() == "held\n"
        with holding(path) as second:
            assert second.stderr.readline() == "busy: waiting\n"
            first.kill()  # the system releases its lock
            assert second.stdout.readline() == "held\n"
            assert second.communicate()[1] == ""
    with locked(path, "nobody holds it"):
        assert path.exists()


def holding(path: Path) -> subprocess.Popen[str]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", HOLDING, path], text=True, **pipes)
