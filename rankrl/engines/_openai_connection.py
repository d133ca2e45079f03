"""Many HTTP requests at a time, asked from ordinary threads: an event loop in a thread of its own, with one client in it."""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from rankrl.errors import MissingDependencyError, RankRLError


class Connection:
    """An event loop in a thread of its own with a client in it, both made when they are first needed."""

    def __init__(self, base_url: str, key: str, timeout_s: float, max_retries: int, concurrency: int) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependencyError("openai", extra="openai", found=str(error)) from None
        self._options = {"base_url": base_url, "api_key": key, "timeout": timeout_s, "max_retries": max_retries}
        self._make, self._concurrency, self._lock = openai.AsyncOpenAI, concurrency, threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Connection({self._options['base_url']!r})"  # not the key

    def responses(self, asked: Sequence[tuple[bool, dict[str, Any]]]) -> Iterator[tuple[int, Any]]:
        """(index, JSON or the error that the server is to blame for) as they arrive.

        What is still open when the iteration ends, by an error, an interrupt or for lack of interest, is cancelled.
        """
        if not asked:
            return
        arrived: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        loop = self._running()
        future = asyncio.run_coroutine_threadsafe(self._ask_all(asked, arrived), loop)
        future.add_done_callback(lambda done: arrived.put((-1, None)))
        try:
            for _ in range(len(asked)):
                i, response = arrived.get()
                if i < 0:  # ended early
                    if not future.cancelled() and (problem := future.exception()) is not None:
                        raise problem
                    raise RankRLError("the openai engine was closed while it was asked")
                yield i, response
        finally:
            future.cancel()

    async def _ask_all(self, asked: Sequence[tuple[bool, dict[str, Any]]], arrived: Any) -> None:
        waiting = iter(enumerate(asked))

        async def work() -> None:
            for i, (chat, body) in waiting:
                async with self._free:
                    arrived.put((i, await self._ask(chat, body)))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(asked))):
                group.create_task(work())

    async def _ask(self, chat: bool, body: dict[str, Any]) -> Any:
        import openai

        try:
            return await self._client.post("/chat/completions" if chat else "/completions", body=body, cast_to=object)
        except (openai.OpenAIError, ValueError) as error:  # ValueError: JSON that is none
            return error

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise RankRLError("the openai engine is closed; load it again")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._free = asyncio.Semaphore(self._concurrency)
                self._client = self._make(**self._options)  # type: ignore[arg-type]
                thread = threading.Thread(target=self._loop.run_forever, name="rankrl-openai", daemon=True)
                thread.start()
                self._stop = weakref.finalize(self, _stop, self._loop, thread, self._client)
            return self._loop

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self._loop is not None:
            self._stop()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, client: Any) -> None:
    """Cancel all tasks of the loop, close the client, end the thread."""

    async def ending() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()

    if elsewhere := thread is not threading.current_thread():  # else: collected as garbage from within the loop
        future = asyncio.run_coroutine_threadsafe(ending(), loop)
        with suppress(Exception):  # the connections are then left to the system
            future.result(5)
    loop.call_soon_threadsafe(loop.stop)
    if elsewhere:
        thread.join(1)
    if not loop.is_running():
        loop.close()
