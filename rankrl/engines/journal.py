"""Answers on disk: an engine around an engine that asks nothing twice, not even after it was killed.

One SQLite file (write-ahead log) holds every answer under the hash of what decides it: the engine's fingerprint and the request.
An answer is stored in a transaction of its own as soon as it is there. Several processes may share the file; where two have asked
the same, both get the answer that was stored first.

Tables: `answers` (request and answer as JSON), `engines` (fingerprints), `askers` (rerankers, settings, prompt fingerprints),
`asked` (which answer was given to whom, about which docids of which qid in the order shown). `recorded` reads them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rankrl.contracts import Engine, OnAnswer
from rankrl.engines._records import answer_as_json, answer_of, as_json, request_as_json, request_of
from rankrl.errors import ConfigError, DataError
from rankrl.types import Answer, Request

SCHEMA = 1
"""The version of the tables; a file of a newer one is refused."""

BUSY_S = 60.0
"""How long to wait for another process that is writing."""

_APPLICATION = 0x524B524C  # "RKRL": tells our files from other SQLite databases

_CHECKPOINT_PAGES = 16_384
"""How long the log grows (64 MiB) before it is worked into the file, which waits for the disk; 1000 is SQLite's default."""

_TABLES = """
CREATE TABLE IF NOT EXISTS engines (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS askers (
  id INTEGER PRIMARY KEY, reranker TEXT NOT NULL, settings TEXT NOT NULL, prompt_sha256 TEXT NOT NULL,
  UNIQUE (reranker, settings, prompt_sha256)
);
CREATE TABLE IF NOT EXISTS answers (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, engine INTEGER NOT NULL REFERENCES engines, request TEXT NOT NULL,
  answer TEXT NOT NULL, time REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS asked (
  answer INTEGER NOT NULL REFERENCES answers, asker INTEGER NOT NULL REFERENCES askers, qid TEXT NOT NULL,
  docids TEXT NOT NULL, PRIMARY KEY (answer, asker, qid, docids)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a reranker, the settings it was made with, and the fingerprint of its prompts."""

    reranker: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answer of a journal, and what it was an answer to.

    key: its address. fingerprint: of the engine. docids: of the candidates that were shown, in the order shown. request: without
    `shown`. time: when it was stored, in seconds since 1970.
    """

    key: str
    fingerprint: str
    reranker: str
    settings: Mapping[str, Any]
    prompt_sha256: str
    qid: str
    docids: tuple[str, ...]
    request: Request
    answer: Answer
    time: float


class Journal:
    """An engine that answers from the file what is stored there, asks `engine` for the rest, and stores what it says.

    path: the file, made with its folder when it is not there. asker: who asks, for replays. Answers from the file are `cached`.
    Safe to use from several threads and processes; a file that was in use when a process died needs no repair.

    Raises:
        ConfigError: the engine has no `fingerprint`, so nothing says whose answers these are.
        DataError: the file is no journal, was written by a newer rankrl, or cannot be written.
    """

    def __init__(self, engine: Engine, path: str | Path, *, asker: Asker | None = None) -> None:
        fingerprint = getattr(engine, "fingerprint", None)
        if not isinstance(fingerprint, str) or not fingerprint:
            raise ConfigError(
                f"a journal needs to know what decides the answers, and {type(engine).__name__} has no fingerprint; "
                "give the engine a string `fingerprint` that changes with model and sampling, or leave the journal out"
            )
        self.engine, self.path, self.asker = engine, Path(path), asker or Asker()
        self.fingerprint = fingerprint
        self._lock = threading.RLock()
        self._opened: list[sqlite3.Connection] = []  # at most one
        self._pid = os.getpid()
        weakref.finalize(self, _close, self._opened, self._pid, self._lock)
        with self._using() as connection:
            self._engine_id = _id_of(connection, "engines", {"fingerprint": fingerprint})
            spelled = json.dumps(self.asker.settings, sort_keys=True, default=str)
            who = {"reranker": self.asker.reranker, "settings": spelled, "prompt_sha256": self.asker.prompt_sha256}
            self._asker_id = _id_of(connection, "askers", who)

    @property
    def concurrent(self) -> int:
        """From how many threads the engine inside may be asked."""
        return int(getattr(self.engine, "concurrent", 1) or 1)

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """The stored answers, and for the rest those of the engine inside, which are stored as they come."""
        answers: list[Answer | None] = [None] * len(requests)
        places: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            places.setdefault(request.key, []).append(i)

        def give(key: str, answer: Answer) -> None:
            for i in places[key]:
                answers[i] = answer
                if on_answer is not None:
                    on_answer(i, answer)

        stored = self.recall(requests)
        for key, answer in stored.items():
            give(key, answer)
        missing = [requests[at[0]] for key, at in places.items() if key not in stored]
        heard: set[int] = set()

        def hear(i: int, answer: Answer) -> None:
            if i not in heard:
                heard.add(i)
                give(missing[i].key, self._store(missing[i], answer))

        if missing:
            said = self.engine.generate(missing, hear)
            if len(said) != len(missing):
                raise ValueError(f"{type(self.engine).__name__} gave {len(said)} answers to {len(missing)} requests")
            for i, answer in enumerate(said):
                hear(i, answer)
            if equal := [requests[i] for request in missing for i in places[request.key][1:]]:
                self.also_asked(equal)
        return [answer for answer in answers if answer is not None]

    def recall(self, requests: Sequence[Request]) -> dict[str, Answer]:
        """Key of the request -> its answer, for those that are stored; it is noted who has asked now."""
        keys = {self._key(request.key): request.key for request in requests}
        wanted = json.dumps(list(keys))
        with self._using() as connection:
            rows = connection.execute(f"SELECT key, answer FROM answers {_AMONG}", (wanted,)).fetchall()
            if not rows:
                return {}
            notes = "SELECT key, qid, docids FROM answers JOIN asked ON asked.answer = id"
            noted = set(connection.execute(f"{notes} {_AMONG} AND asker = ?", (wanted, self._asker_id)))
        stored = {keys[key]: replace(answer_of(spelled), cached=True) for key, spelled in rows}
        again = [request for request in requests if request.key in stored]
        if new := [r for r in again if (self._key(r.key), *_shown(r)) not in noted]:
            self.also_asked(new)
        return stored

    def also_asked(self, requests: Sequence[Request]) -> None:
        """Notes who has asked what another request has the answer of, so that a replay finds it."""
        rows = [(self._asker_id, *_shown(request), self._key(request.key)) for request in requests]
        with self._using() as connection, _transaction(connection):
            connection.executemany(_NOTE, rows)

    def close(self) -> None:
        """Closes the file until it is used again; the write-ahead log goes into it when nobody else has it open."""
        _close(self._opened, self._pid, self._lock)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, request_key: str) -> str:
        return hashlib.sha256(f"{self.fingerprint}\n{request_key}".encode()).hexdigest()

    def _store(self, request: Request, answer: Answer) -> Answer:
        """The answer as it is stored now: this one, or that of another process that was quicker."""
        key = self._key(request.key)
        row = (key, self._engine_id, request_as_json(request), answer_as_json(answer), time.time())
        with self._using() as connection, _transaction(connection):
            new = connection.execute("INSERT OR IGNORE INTO answers VALUES (NULL, ?, ?, ?, ?, ?)", row).rowcount
            connection.execute(_NOTE, (self._asker_id, *_shown(request), key))
            if new:
                return answer
            (spelled,) = connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        first = answer_of(spelled)  # ours was paid for all the same
        return replace(first, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens)

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process, for one thread at a time."""
        with self._lock, _told_in_one_line(self.path):
            if self._pid != os.getpid():  # a fork must not use its parent's connection, nor close it
                _INHERITED.extend(self._opened)
                self._opened.clear()
                self._pid = os.getpid()
            if not self._opened:
                self._opened.append(_open(self.path))
            yield self._opened[0]


_INHERITED: list[sqlite3.Connection] = []
"""Connections of a parent process; kept, since forgetting them would close them."""

_NOTE = "INSERT OR IGNORE INTO asked SELECT id, ?, ?, ? FROM answers WHERE key = ?"

_AMONG = "WHERE key IN (SELECT value FROM json_each(?))"


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise


def check_journal(path: str | Path) -> None:
    """Make sure that a journal can be kept there, before hours are spent on it.

    Raises:
        DataError: the file is no journal, was written by a newer rankrl, or cannot be written.
    """
    with _told_in_one_line(Path(path)), closing(_open(Path(path))) as connection, _transaction(connection):
        pass


def recorded(path: str | Path) -> Iterator[Recorded]:
    """Every answer of a journal, in the order in which they were stored; once for each list of candidates it was given for.

    Raises:
        DataError: there is no such file, it is no journal, or it was written by a newer rankrl.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f"journal not found: {path}")
    with _told_in_one_line(source), closing(_opened_to_read(source)) as connection:
        _check(connection, source, empty_is_one=False)
        rows = connection.execute(
            "SELECT answers.key, fingerprint, reranker, settings, prompt_sha256, qid, docids, request, answers.answer,"
            " answers.time FROM answers JOIN engines ON engines.id = answers.engine JOIN asked ON asked.answer = answers.id"
            " JOIN askers ON askers.id = asked.asker ORDER BY answers.id"
        )
        for key, fingerprint, reranker, settings, prompt, qid, docids, request, answer, when in rows:
            yield Recorded(
                key, fingerprint, reranker, json.loads(settings), prompt, qid, tuple(json.loads(docids)),
                request_of(request), answer_of(answer), when,
            )  # fmt: skip


def _open(path: Path) -> sqlite3.Connection:
    """A connection that writes; the tables are made when the file is new."""
    if path.is_dir():
        raise DataError(f"journal {path} is a folder; give the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    where = path.absolute()  # as it stands ":memory:" and "file:a?mode=memory" would be no files
    connection = sqlite3.connect(where, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if _check(connection, path, empty_is_one=True):
            return connection
        until = time.monotonic() + BUSY_S
        while True:
            try:  # another process may be making the tables: this is refused at once then, whatever the timeout
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.01)
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _opened_to_read(path: Path) -> sqlite3.Connection:
    """A connection that adds nothing, also where nothing can be written; a log that a killed process has left is worked in."""
    where = path.resolve().as_uri()
    for mode in ("mode=rw", "mode=ro", "immutable=1"):
        connection = sqlite3.connect(f"{where}?{mode}", uri=True, timeout=BUSY_S)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            problem = error
    raise problem


def _check(connection: sqlite3.Connection, path: Path, *, empty_is_one: bool) -> bool:
    """True for a journal of ours, False for an empty file, where that is allowed; anything else is refused."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == _APPLICATION and version <= SCHEMA:
        return True
    if application == _APPLICATION:
        raise DataError(
            f"journal {path} was written by a newer rankrl (tables {version}, this one knows {SCHEMA}); upgrade"
        )
    if empty_is_one and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        return False
    raise DataError(f"{path} is no journal of rankrl; give another file")


def _id_of(connection: sqlite3.Connection, table: str, row: Mapping[str, str]) -> int:
    """The id of a row, which is added when it is not there."""
    names, values = ", ".join(row), list(row.values())
    places = ", ".join("?" * len(row))
    connection.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})", values)
    same = " AND ".join(f"{name} = ?" for name in row)
    return int(connection.execute(f"SELECT id FROM {table} WHERE {same}", values).fetchone()[0])


@contextmanager
def _told_in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DataError(f"journal {path} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} is no journal of rankrl, or a damaged one ({error}); give another file") from error
    except OSError as error:
        raise DataError(f"journal {path} cannot be used: {error.strerror or error}") from error


def _close(opened: list[sqlite3.Connection], pid: int, lock: threading.RLock) -> None:
    """Closes what this process has opened; what a thread is in the middle of is waited for, but not for ever."""
    if pid == os.getpid() and lock.acquire(timeout=BUSY_S):
        while opened:
            opened.pop().close()
        lock.release()


def _shown(request: Request) -> tuple[str, str]:
    """(qid, docids as JSON) of what the request shows."""
    if request.shown is None:
        return "", "[]"
    qid = request.shown.query.qid.encode("utf-8", "backslashreplace").decode()
    return qid, as_json(request.shown.docids)
