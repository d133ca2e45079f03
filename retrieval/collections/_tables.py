"""The tables of a data set of Hugging Face's `datasets`: from the hub, or from a local folder of the same layout.

What the tables are called and which files they are made of is what `datasets` makes of the repository (its README says, as a
rule). In a local folder, `CONFIG/SPLIT*.parquet` or `CONFIG/SPLIT*.jsonl` (shards are `SPLIT-00000-of-00002.parquet`) and
`CONFIG.jsonl` or `CONFIG.parquet` (a table with one split) are found without it. Of a table only the files of the splits
that are asked for are fetched and read.

From the hub everything is read from one commit, the one that the revision means when it is first needed. Without a network
nothing is: what `datasets` holds from before may be another revision. `hf download ORG/NAME --repo-type dataset --local-dir
FOLDER` makes a folder that can be read anywhere.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from rankrl.errors import DataError, RankRLError, unknown_name
from rankrl.files import content_sha256

from ._base import Document
from ._rows import identifier
from ._stored import LazyCorpus

_READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv"}
_OWN_SUFFIXES = (".parquet", ".jsonl")
_PACKED_SUFFIXES = (".gz", ".xz", ".zst", ".bz2")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_ID_COLUMNS = ("_id", "query-id", "corpus-id")
"""Read as they are written where a table is text, in which 007 looks like a number."""


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
        if self.folder is None:
            with _told(self.where):
                import datasets

                return tuple(datasets.get_dataset_config_names(self.where, revision=self._commit))
        own = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        names = {path.name for path in own if path.is_dir()}
        names |= {path.stem for path in own if path.suffix in _OWN_SUFFIXES}
        return tuple(sorted({*names, *self._described(self.folder)})) or ("default",)

    def _described(self, folder: Path) -> list[str]:
        """The tables that a README of the hub's kind describes; [] for any other README."""
        from huggingface_hub import DatasetCard

        path = folder / "README.md"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if not text.startswith("---"):
            return []
        with _told(str(path)):
            return [one["config_name"] for one in DatasetCard(text).data.get("configs") or []]

    @cached_property
    def _commit(self) -> str:
        """The commit of the hub's repository that everything is read from."""
        if self.where.startswith(("/", ".", "~")):
            raise DataError(f"there is no folder {self.where}")
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        try:
            return str(HfApi().dataset_info(self.where, revision=self.revision).sha)
        except RevisionNotFoundError:
            raise DataError(f"the data set {self.where} has no revision {self.revision!r} on the hub") from None
        except RepositoryNotFoundError:
            raise DataError(
                f"there is no data set {self.where} on the hub, or it is not for everybody, and there is no such folder"
            ) from None
        except Exception as error:
            raise DataError(
                f"the hub does not answer for the data set {self.where}: {type(error).__name__}: {_one_line(error)}; "
                "a copy made with `hf download --repo-type dataset --local-dir FOLDER` can be read without it"
            ) from error

    def splits(self, config: str) -> tuple[str, ...]:
        """The splits of a table.

        Raises:
            ConfigError: the data set has no such table.
            DataError: the files of the table are not there.
        """
        return tuple(self._files(config))

    def table(self, config: str, split: str) -> Any:
        """The rows of one split, on disk in Arrow.

        Raises:
            ConfigError: the data set has no such table or split.
            DataError: it cannot be loaded.
        """
        files = self._files(config)
        if split not in files:
            raise unknown_name(f"split of the table {config!r} of {self.where}", split, files)
        with _told(f"{self.where}, {config}, {split}"):
            import datasets

            kinds = {_kind(file) for file in files[split]}
            if len(kinds) > 1 or (kind := kinds.pop()) not in _READERS:
                raise DataError(f"{self.where}, {config}, {split}: not files of one kind out of {', '.join(_READERS)}")
            asked: dict[str, Any] = {}
            if _READERS[kind] == "csv":
                asked = {"sep": "\t" if kind == ".tsv" else ",", "converters": dict.fromkeys(_ID_COLUMNS, str)}
            return datasets.load_dataset(_READERS[kind], data_files={split: files[split]}, split=split, **asked)

    def rows(self, config: str, splits: Iterable[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """(`where, config, split, row number from 1`, row) of the splits of a table, all of them by default."""
        for split in self.splits(config) if splits is None else splits:
            table = self.table(config, split)
            for number, row in enumerate(table, start=1):
                yield f"{self.where}, {config}, {split}, row {number}", row

    def facts(self, used: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """What identifies the (config, split) tables used: SHA-256 of local files, or the hub's commit."""
        if self.folder is None:
            return {"commit": self._commit}
        files = {file for config, split in used for file in self._files(config)[split]}
        return {"sha256": {os.path.relpath(file, self.folder): content_sha256(file) for file in sorted(files)}}

    @cached_property
    def _found(self) -> dict[str, dict[str, list[str]]]:
        return {}

    def _files(self, config: str) -> dict[str, list[str]]:
        """Split -> paths or URLs of the files of a table."""
        if config not in self.configs:
            raise unknown_name(f"table of {self.where}", config, self.configs)
        if config not in self._found:
            self._found[config] = self._own_files(config) or self._resolved_files(config)
        return self._found[config]

    def _own_files(self, config: str) -> dict[str, list[str]]:
        """Split -> files of a local table, which are all of one kind; {} where it lies in another way."""
        if self.folder is None:
            return {}
        inside = sorted((self.folder / config).glob("*")) if (self.folder / config).is_dir() else []
        beside = [self.folder / f"{config}{suffix}" for suffix in _OWN_SUFFIXES]
        paths = [path for path in (*inside, *beside) if path.suffix in _OWN_SUFFIXES and path.is_file()]
        found: dict[str, list[str]] = {}
        for path in paths:
            found.setdefault(_SHARD.sub("", path.stem), []).append(str(path))
        for split, parts in found.items():
            if len({_kind(path) for path in parts}) > 1:
                raise DataError(f"{self.folder}: the table {config!r} has {split!r} as Parquet and as JSONL; keep one")
        return found

    def _resolved_files(self, config: str) -> dict[str, list[str]]:
        """Split -> files of a table, as `datasets` understands the repository."""
        with _told(f"{self.where}, {config}"):
            import datasets

            if self.folder is not None:
                builder = datasets.load_dataset_builder(str(self.folder.absolute()), config)
            else:
                builder = datasets.load_dataset_builder(self.where, config, revision=self._commit)
            if builder.config.data_files is None:  # what was cached before, of any revision
                raise DataError(f"{self.where}, {config}: the hub does not say what the table's files are")
            return {str(split): list(map(str, files)) for split, files in builder.config.data_files.items()}


def _kind(file: str) -> str:
    """The ending that says how a file is read: ".jsonl" of "a.jsonl.gz"."""
    path = PurePosixPath(file)
    return (path.with_suffix("") if path.suffix in _PACKED_SUFFIXES else path).suffix


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
        raise DataError(
            f"{where} cannot be loaded with `datasets`: {type(cause).__name__}: {_one_line(cause)}"
        ) from error
    finally:
        if hide:
            datasets.enable_progress_bars()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
