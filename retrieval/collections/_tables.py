"""The tables of a data set of Hugging Face's `datasets`: from the hub, or from a local folder of the same layout.

A local folder has `CONFIG/SPLIT*.parquet` or `CONFIG/SPLIT*.jsonl` (shards are `SPLIT-00000-of-00002.parquet`), or
`CONFIG.jsonl`, `CONFIG.parquet` for a table with one split; a clone of a hub repository usually is such a folder.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankrl.errors import DataError, RankRLError, unknown_name
from rankrl.files import content_sha256

from ._base import Document
from ._rows import identifier
from ._stored import LazyCorpus

_READERS = {".parquet": "parquet", ".jsonl": "json"}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class Tables:
    """Config -> split -> table of one data set.

    where: `org/name` on the hub, or a local folder. revision: branch, tag or commit of the hub's repository.
    """

    where: str
    revision: str | None = None

    @cached_property
    def folder(self) -> Path | None:
        """The local folder, None for the hub."""
        path = Path(self.where).expanduser()
        return path if path.is_dir() else None

    @property
    def label(self) -> str:
        """What a record calls it: the folder's name, or `org/name` and the revision that was asked for."""
        if self.folder is not None:
            return self.folder.resolve().name
        return f"{self.where}@{self.revision}" if self.revision else self.where

    @cached_property
    def configs(self) -> tuple[str, ...]:
        """The names of the tables.

        Raises:
            DataError: there is no such data set, or the hub cannot be reached.
        """
        if self.folder is not None:
            files = [path for path in self.folder.iterdir() if path.is_dir() or path.suffix in _READERS]
            return tuple(sorted({path.name if path.is_dir() else path.stem for path in files}))
        if self.where.startswith(("/", ".", "~")):
            raise DataError(f"there is no folder {self.where}")
        with _told(self.where):
            import datasets

            return tuple(datasets.get_dataset_config_names(self.where, revision=self.revision))

    def splits(self, config: str) -> tuple[str, ...]:
        """The splits of a table.

        Raises:
            ConfigError: the data set has no such table.
        """
        self._known(config)
        if self.folder is not None:
            return tuple(self._files(config))
        with _told(f"{self.where}, {config}"):
            import datasets

            return tuple(datasets.get_dataset_split_names(self.where, config, revision=self.revision))

    def table(self, config: str, split: str) -> Any:
        """The rows of one split, on disk in Arrow.

        Raises:
            ConfigError: the data set has no such table or split.
            DataError: it cannot be loaded.
        """
        if split not in (splits := self.splits(config)):
            raise unknown_name(f"split of the table {config!r} of {self.where}", split, splits)
        with _told(f"{self.where}, {config}, {split}"):
            import datasets

            if self.folder is None:
                return datasets.load_dataset(self.where, config, split=split, revision=self.revision)
            paths = self._files(config)[split]
            reader = _READERS[paths[0].suffix]
            return datasets.load_dataset(reader, data_files={split: [str(path) for path in paths]}, split=split)

    def rows(self, config: str, splits: Iterable[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """(`where, config, split, row number from 1`, row) of the splits of a table, all of them by default."""
        for split in self.splits(config) if splits is None else splits:
            table = self.table(config, split)
            for number, row in enumerate(table, start=1):
                yield f"{self.where}, {config}, {split}, row {number}", row

    def facts(self, used: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """What identifies the (config, split) tables used: SHA-256 of local files, or the hub's commit."""
        if self.folder is not None:
            paths = [path for config, split in used for path in self._files(config)[split]]
            return {"sha256": {str(path.relative_to(self.folder)): content_sha256(path) for path in sorted(paths)}}
        found = set()
        for config, split in used:
            sums = self.table(config, split).info.download_checksums or {}
            found |= {match[1] for url in sums if (match := re.search(r"@([0-9a-f]{40})/", url))}
        return {"commit": sorted(found)} if found else {}

    def _known(self, config: str) -> None:
        if config not in self.configs:
            raise unknown_name(f"table of {self.where}", config, self.configs)

    def _files(self, config: str) -> dict[str, list[Path]]:
        """Split -> files of a local table, which are all of one kind."""
        assert self.folder is not None
        inside = sorted((self.folder / config).glob("*")) if (self.folder / config).is_dir() else []
        beside = [self.folder / f"{config}{suffix}" for suffix in _READERS]
        paths = [path for path in (*inside, *beside) if path.suffix in _READERS and path.is_file()]
        found: dict[str, list[Path]] = {}
        for path in paths:
            found.setdefault(_SHARD.sub("", path.stem), []).append(path)
        for split, parts in found.items():
            if len({path.suffix for path in parts}) > 1:
                raise DataError(f"{self.folder}: the table {config!r} has {split!r} as Parquet and as JSONL; keep one")
        return found


class TableCorpus(LazyCorpus):
    """docid -> Document of a table, in its order; the texts stay on disk, the docids are in memory.

    Raises:
        DataError: a docid appears twice, or there is no document.
    """

    def __init__(self, tables: Tables, config: str, splits: Iterable[str], key: str, read: Reader) -> None:
        self._tables, self._config, self._splits, self._read = tables, config, tuple(splits), read
        self._loaded = [tables.table(config, split) for split in self._splits]
        self._place: dict[str, tuple[int, int]] = {}
        for number, (split, table) in enumerate(zip(self._splits, self._loaded, strict=True)):
            if key not in table.column_names:
                raise DataError(f"{tables.where}, {config}, {split}: no column {key!r}; there are {table.column_names}")
            for row, value in enumerate(table[key]):
                where = f"{tables.where}, {config}, {split}, row {row + 1}"
                docid = identifier(where, {key: value}, key)
                if docid in self._place:
                    raise DataError(f"{where}: document {docid!r} appears twice; keep one of them")
                self._place[docid] = number, row
        if not self._place:
            raise DataError(f"no documents in {tables.where}, {config}")

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __contains__(self, docid: object) -> bool:
        return docid in self._place

    def documents(self) -> Iterator[Document]:
        """The documents, in the order of the table."""
        return (self._read(where, row) for where, row in self._tables.rows(self._config, self._splits))

    def __getitem__(self, docid: str) -> Document:
        number, row = self._place[docid]
        where = f"{self._tables.where}, {self._config}, {self._splits[number]}, row {row + 1}"
        return self._read(where, self._loaded[number][row])


Reader = Callable[[str, Mapping[str, Any]], Document]
"""(where, row) -> its document; raises DataError."""


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Turn whatever `datasets` raises inside into one sentence, and keep its bars off a stream that nobody watches."""
    import datasets

    hide = not sys.stderr.isatty() and datasets.are_progress_bars_disabled() is False
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    except RankRLError:
        raise
    except Exception as error:
        cause = error.__cause__ or error  # `datasets` wraps what went wrong with a file
        detail = " ".join(str(cause).split())[:300]
        raise DataError(f"{where} cannot be loaded with `datasets`: {type(cause).__name__}: {detail}") from error
    finally:
        if hide:
            datasets.enable_progress_bars()
