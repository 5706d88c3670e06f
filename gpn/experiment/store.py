"""Finished chunks in one SQLite file beside the results, so that a run that was killed can resume.

The file is written by the thread that collects the results, each chunk in a transaction of its own, with a
write-ahead log: a process that is killed, or a disk that is full, loses the chunk that was being written and no other.
Nothing waits for the disk, so a power cut may take the last chunks too, but never the file. After a kill the log stays
beside the file, as `run.sqlite-wal`, and belongs to it until the run is resumed.

While a run is open it holds SQLite's exclusive lock, which the system releases when the process ends, however it ends.
The log then needs no shared memory, and the folder may be on a network file system.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.experiment.files import remove_drafts
from gpn.experiment.fingerprint import fingerprint
from gpn.experiment.identity import Identity, parse_identity, resuming_command
from gpn.experiment.runs import Arrays, Cell
from gpn.experiment.versions import differences
from theory.errors import UsageError

FILE = "run.sqlite"
_APPLICATION, _FORMAT = 0x67706E31, 1  # "gpn1"

_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_MISMATCH")

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cells (
    id INTEGER PRIMARY KEY, experiment INTEGER NOT NULL, cell TEXT NOT NULL, first INTEGER NOT NULL,
    label TEXT NOT NULL, trials INTEGER NOT NULL, chunk INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    UNIQUE (experiment, cell, first));
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, cell INTEGER NOT NULL REFERENCES cells, chunk INTEGER NOT NULL, digest BLOB NOT NULL,
    UNIQUE (cell, chunk));
CREATE TABLE arrays (
    chunk INTEGER NOT NULL REFERENCES chunks, position INTEGER NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL,
    shape TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (chunk, position));
"""


class StoreError(OSError):
    """A run store that cannot be read or written any more: a full disk, say."""


class DamagedStore(UsageError):
    """A file that was a run store and cannot be read as one."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"{path} is damaged ({str(reason)[:100]}); delete it and run again")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run store holds: which run, how many of its chunks, and whether it is finished."""

    identity: Identity
    chunks: int
    finished: bool


class RunStore:
    """The open run store of one run; see `open_store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._cells: dict[tuple[int, int, int], int] = {}

    def __len__(self) -> int:
        """How many finished chunks are kept."""
        return int(self.connection.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def finished(self, cell: Cell) -> Iterator[tuple[int, Arrays]]:
        """The chunks of a cell, or of a later part of one, that are kept, each with its number in that part.

        Args:
            cell: as it will be run; the chunks are given only if they were computed by just this cell.

        Raises:
            UsageError: the chunks are those of other work, or damaged.
            StoreError: the file cannot be read.
        """
        if (known := self._find(cell)) is None:
            return
        select = "SELECT id, chunk, digest FROM chunks WHERE cell = ? ORDER BY chunk"
        with _failures(self.path):
            for row, number, digest in self.connection.execute(select, (known,)).fetchall():
                arrays = dict(self._arrays(row))
                if _digest(arrays) != digest:
                    raise DamagedStore(self.path, f"chunk {number} is not what was written")
                yield number, arrays

    def save_chunk(self, cell: Cell, number: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep a finished chunk, for good.

        Args:
            cell: whose.
            number: of the chunk, counted from the first of this part of the cell.
            arrays: of its trials, of numbers or text.

        Raises:
            UsageError: an array of records or Python objects, whose bytes do not hold it.
            StoreError: it cannot be written.
        """
        for name, array in arrays.items():
            if array.dtype.hasobject or array.dtype.names:
                raise UsageError(f"{name!r} is an array of {array.dtype}, which a run store cannot keep; use numbers")
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        insert = "INSERT INTO arrays VALUES (?, ?, ?, ?, ?, ?)"
        with _failures(self.path), self.connection:
            key = (self._begin(cell), number, _digest(whole))
            chunk = self.connection.execute("INSERT INTO chunks (cell, chunk, digest) VALUES (?, ?, ?)", key).lastrowid
            for position, (name, array) in enumerate(whole.items()):
                shape = json.dumps(arrays[name].shape)
                row = (chunk, position, name, array.dtype.str, shape, array.tobytes())
                self.connection.execute(insert, row)

    def finish(self) -> None:
        """Note that the run is finished."""
        with _failures(self.path), self.connection:
            self.connection.execute("INSERT OR REPLACE INTO facts VALUES ('finished', 'true')")

    def _arrays(self, chunk: int) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        select = "SELECT name, dtype, shape, data FROM arrays WHERE chunk = ? ORDER BY position"
        for name, dtype, shape, data in self.connection.execute(select, (chunk,)):
            try:
                yield name, np.frombuffer(data, dtype).reshape(json.loads(shape))
            except (TypeError, ValueError) as error:
                raise DamagedStore(self.path, error) from error

    def _find(self, cell: Cell) -> int | None:
        select = "SELECT id, fingerprint FROM cells WHERE experiment = ? AND cell = ? AND first = ?"
        with _failures(self.path):
            row = self.connection.execute(select, (cell.experiment, str(cell.cell), cell.first)).fetchone()
        if row is None:
            return None
        if row[1] != fingerprint(cell):
            raise UsageError(
                f"{self.path} holds results of other work under the name of {cell.label or 'a cell'} (experiment "
                f"{cell.experiment}, cell {cell.cell}): its function, inputs, trials or chunks are not the same; name "
                "another folder, or delete that file"
            )
        return int(row[0])

    def _begin(self, cell: Cell) -> int:
        """The row of a cell, written with its first chunk."""
        key = (cell.experiment, cell.cell, cell.first)
        if key not in self._cells:
            known = self._find(cell)
            if known is None:
                numbers = (cell.experiment, str(cell.cell), cell.first, cell.label, cell.trials, cell.chunk)
                insert = "INSERT INTO cells VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)"
                row = self.connection.execute(insert, (*numbers, fingerprint(cell))).lastrowid
                return int(row or 0)  # known once it is committed
            self._cells[key] = known
        return self._cells[key]


@contextmanager
def open_store(
    folder: str | os.PathLike[str], identity: Identity, *, replace_finished: bool = False
) -> Iterator[RunStore]:
    """Open the run store of a folder for one run, or make it; when the run fails, say what is kept.

    A store that exists must be one of the same settings and versions: then its chunks are those that this run would
    compute. Whatever ends the run early, Ctrl-C too, gets a note that says how many chunks are kept and how to resume.

    Args:
        folder: where `run.sqlite` is or will be; it is made if it does not exist.
        identity: of the run.
        replace_finished: delete the store of another run, if that is finished, instead of refusing it.

    Raises:
        UsageError: the folder cannot be written, another process runs in it, or its store belongs to another run.
        StoreError: the file cannot be written or read any more.
    """
    path = Path(folder) / FILE
    identity = Identity(**json.loads(json.dumps(asdict(identity))))  # as it will be read back
    known = read_summary(folder) if replace_finished else None
    if known is not None and known.finished and _unlike(known.identity, identity):
        delete_store(folder)
    with ExitStack() as held:
        with _whole_or_not_at_all(path):
            store = RunStore(path, held.enter_context(closing(_connect(path))))
            _claim(store, identity)
        remove_drafts(path.parent)  # of a process that was killed: nobody else writes here
        try:
            yield store
            store.finish()
        except DamagedStore:
            raise
        except BaseException as error:
            error.add_note(_how_to_resume(store, identity))
            raise


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[None]:
    """Begin a store; one that was not there before and cannot be written, as on a full disk, leaves no file."""
    fresh, new_folder = not path.exists(), not path.parent.exists()
    try:
        yield
    except BaseException as error:
        if fresh:
            with suppress(OSError):
                for rest in ("", "-journal", "-wal", "-shm"):
                    path.with_name(FILE + rest).unlink(missing_ok=True)
                if new_folder:
                    path.parent.rmdir()
        if fresh and isinstance(error, StoreError):
            error.add_note("there is nothing to resume; make room and run the same again")
        raise


def read_summary(folder: str | os.PathLike[str]) -> Summary | None:
    """What the run store of a folder holds, None if there is none.

    Args:
        folder: where `run.sqlite` may be.

    Raises:
        UsageError: another process runs there, or the file is something else.
        StoreError: the file cannot be read.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    with closing(_connect(path)) as connection:
        return _summary(RunStore(path, connection))


def delete_store(folder: str | os.PathLike[str]) -> None:
    """Delete the run store of a folder, unless another process is at work in it.

    Args:
        folder: where `run.sqlite` is.

    Raises:
        UsageError: another process runs there, or the file is something else.
    """
    path = Path(folder) / FILE
    with closing(_connect(path)) as connection:
        with _failures(path):
            connection.execute("PRAGMA journal_mode = DELETE")  # the log must not outlive the file
        path.unlink()


def _connect(path: Path) -> sqlite3.Connection:
    """An open store that is locked against all others."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=1.0, isolation_level="IMMEDIATE")
    except (OSError, sqlite3.Error, ValueError, RecursionError) as error:  # too deep a path, or a null character
        raise _unwritable(path, error) from error
    try:
        with _failures(path):
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN EXCLUSIVE")
            connection.commit()
            if not connection.execute("PRAGMA schema_version").fetchone()[0]:
                connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        _check_format(path, connection)
    except StoreError as error:
        connection.close()
        raise _refusal(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_format(path: Path, connection: sqlite3.Connection) -> None:
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if (application, version) != (_APPLICATION, _FORMAT):
        what = f"of format {version}, not {_FORMAT}" if application == _APPLICATION else "no run store of this program"
        raise UsageError(f"{path} is {what}; name another folder, or move that file away")


def _summary(store: RunStore) -> Summary | None:
    """What is written; None if the process that made the file was killed before it wrote anything."""
    with _failures(store.path):
        facts = dict(store.connection.execute("SELECT name, value FROM facts"))
        if "identity" not in facts:
            return None
        try:
            identity = parse_identity(facts["identity"])
        except ValueError as error:
            raise DamagedStore(store.path, error) from error
        return Summary(identity, len(store), "finished" in facts)


def _claim(store: RunStore, identity: Identity) -> None:
    """Write down what the run is, or compare it with what is written."""
    path, connection, known = store.path, store.connection, _summary(store)
    unlike = [] if known is None else _unlike(known.identity, identity)
    if known is None or (unlike and not known.chunks):  # nothing is lost
        with _failures(path), connection:
            text = json.dumps(asdict(identity))
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('identity', ?)", (text,))
    elif unlike:
        kind = "a finished" if known.finished else "an unfinished"
        able = known.identity.call is not None and known.identity.versions == identity.versions and not known.finished
        other = f"resume it: {resuming_command(path.parent)}, or " if able else ""
        raise UsageError(
            f"{path} holds {kind} run that is not this one ({'; '.join(unlike)}); {other}name another folder, or "
            "delete that file"
        )


def _unlike(theirs: Identity, ours: Identity) -> list[str]:
    """What keeps two runs from sharing chunks."""
    return differences(theirs.settings, ours.settings) + differences(theirs.versions, ours.versions)


def _how_to_resume(store: RunStore, identity: Identity) -> str:
    try:
        kept = f"{len(store)} finished chunks are kept in {store.path}"
    except sqlite3.Error:
        kept = f"what was finished is kept in {store.path}"
    if identity.call is None:
        return f"{kept}; to resume, run the same again with the same store"
    return f"{kept}; to resume: {resuming_command(store.path.parent, identity.call)}"


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    digest = blake2b(digest_size=16)
    for name, array in arrays.items():
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.digest()


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    """Errors of SQLite as one of our own: of what the file holds, or of the system."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "SQLITE_ERROR").startswith(_DAMAGE):
            raise DamagedStore(path, error) from error
        raise StoreError(f"cannot write {path}: {error}") from error


def _refusal(path: Path, error: StoreError) -> Exception:
    """Why a store could not be opened: in most cases another process or the folder, not a broken disk."""
    cause = error.__cause__
    name = getattr(cause, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return UsageError(f"another run is at work in {path.parent}; wait for its end, or name another folder")
    if name == "SQLITE_NOTADB":
        return UsageError(f"{path} is not a run store of this program; name another folder, or move that file away")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")) and cause is not None:
        return _unwritable(path, cause)
    return error


def _unwritable(path: Path, error: BaseException) -> UsageError:
    reason = getattr(error, "strerror", None) or str(error)
    return UsageError(f"cannot keep results in {path.parent} ({reason}); name another folder")
