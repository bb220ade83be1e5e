"""Files that are written whole: their temporaries, and disks that fill up."""

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semilung import temporaries
from semilung.exhaustion import exhausted
from semilung.files import DiskFullError, whole_file, write_bytes, write_text
from semilung.jobs import run_jobs
from semilung.temporaries import sweep, temporary_path
from semilung.types import UserError


def hidden(folder):
    return sorted(path.name for path in folder.glob(".*"))


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.fixture
def killed(monkeypatch, tmp_path):
    """Leaves a temporary as a process of a given number and machine would when it is killed."""

    def leave(name, *, process, host=None, suffix=".tmp"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: process)
            if host is not None:
                patch.setattr(socket, "gethostname", lambda: host)
            path = temporary_path(tmp_path / name, suffix)
        path.write_bytes(b"half")
        return path

    return leave


@pytest.mark.parametrize("suffix", [".tmp", ".nii.gz", ".b2nd"])
def test_temporary_of_a_dead_process_is_swept_by_the_next_write(killed, tmp_path, suffix):
    killed("scan_nodules.nii.gz", process=dead_process(), suffix=suffix)
    write_text(tmp_path / "cases.csv", "case")
    assert hidden(tmp_path) == []


def test_temporaries_of_living_processes_and_files_of_others_stay(killed, tmp_path):
    live = killed("a.nii.gz", process=os.getpid())
    parents = killed("a.nii.gz", process=os.getppid())
    other = tmp_path / ".last.pt.0123456789ab.tmp"
    other.touch()
    (tmp_path / ".hidden").touch()
    sweep(tmp_path)
    assert hidden(tmp_path) == sorted([live.name, parents.name, other.name, ".hidden"])


def test_temporary_of_another_machine_is_swept_after_a_day(killed, tmp_path):
    path = killed("a.csv", process=dead_process(), host="other")
    sweep(tmp_path)
    assert path.exists()
    day = time.time() - temporaries.UNTOUCHED_S - 1
    os.utime(path, (day, day))
    sweep(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("letter", ["x", "\N{GREEK SMALL LETTER ALPHA}"])
def test_file_with_the_longest_name_is_written(tmp_path, letter):
    name = letter * (254 // len(letter.encode()))
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_names_folder_and_bytes_and_leaves_the_old_file(tmp_path, number, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full(self, content):
        self.touch()
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        DiskFullError, match=rf"No space left in {tmp_path} \(up to 3.0 MiB needed, .*free"
    ):
        write_bytes(path, bytes(3 * 2**20))
    assert path.read_text() == "old"
    assert hidden(tmp_path) == []


def test_disk_that_refuses_otherwise_is_not_called_full(tmp_path):
    error = OSError(errno.EROFS, os.strerror(errno.EROFS))
    message = r"could not be written: .*Read-only"
    with pytest.raises(UserError, match=message) as caught, whole_file(tmp_path / "file"):
        raise error
    assert not isinstance(caught.value, DiskFullError)


def fill(number):
    Path(str(number)).touch()
    raise DiskFullError("No space left")


@pytest.mark.parametrize("processes", [0, 2])
def test_full_disk_ends_all_jobs_with_one_message(tmp_path, monkeypatch, processes):
    monkeypatch.chdir(tmp_path)
    jobs = [(str(i), i) for i in range(90)]
    with pytest.raises(DiskFullError, match=r"^No space left$"):
        run_jobs(fill, jobs, title="", progress=False, processes=processes)
    assert len(list(tmp_path.iterdir())) < 10


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "inference.window"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (ImportError("libx.so: cannot open shared object file: Too many open files"), "ulimit -n"),
    ],
)
def test_what_a_machine_runs_out_of_is_one_sentence_with_a_remedy(error, message):
    assert message in exhausted(error)
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = error
    assert message in exhausted(wrapped)
    assert exhausted(OSError(errno.ENOENT, "no such file")) is None
