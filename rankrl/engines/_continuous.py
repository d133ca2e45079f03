"""Orderings that go on as soon as their own answers are there: an engine that is asked from several threads."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

from rankrl.engines._running import Live, Running, asked, release
from rankrl.types import Answer, Request

GRACE_S, INTERRUPTED_GRACE_S = 5.0, 0.5
"""How long answers under way are waited for after an error, so that a journal can keep them, and after an interruption."""


class Continuous:
    """Asks an engine from several threads; an ordering goes on as soon as its own answers are there."""

    def __init__(self, run: Running, workers: int) -> None:
        self.run, self.workers = run, workers
        self.todo: SimpleQueue[Request | None] = SimpleQueue()
        self.done: SimpleQueue[tuple[str, Answer | None, BaseException | None]] = SimpleQueue()
        self.flying: dict[str, tuple[Request, list[Live]]] = {}
        self.held: dict[int, Live] = {}
        self.patience = 0  # answers to wait for before a limit is asked again
        self.threads: list[threading.Thread] = []
        self.closing = False

    def drive(self) -> None:
        """Runs all orderings to their end."""
        run, answered, grace_s = self.run, 0, 0.0
        try:
            while run.waiting or run.live:
                self.held.update((live.index, live) for live in run.start_more())
                self._send()
                if not self.flying:
                    if self.held:
                        run.stop(self.held.pop(min(self.held)))
                    elif run.recalled:
                        run.report(0)
                    continue
                stepped = self._receive()
                answered += 1
                if stepped:
                    run.report(answered)
                    answered = 0
        except Exception:
            grace_s = GRACE_S
            raise
        except BaseException:
            grace_s = INTERRUPTED_GRACE_S
            raise
        finally:
            self._end(grace_s)

    def _send(self) -> None:
        """Sends what the orderings want that hold still, in their order, as far as the limits allow.

        Looking at many requests for every answer of others would take longer than these: then not every answer counts.
        """
        if self.patience and self.flying:
            self.patience -= 1
            return
        for index in sorted(self.held):
            live = self.held[index]
            new = [request for key, request in live.missing.items() if key not in self.flying]
            if not self.run.fits(new):
                self.patience = len(new) // 32
                return
            del self.held[index]
            for key, request in live.missing.items():
                first, waiting = self.flying.setdefault(key, (request, []))
                waiting.append(live)
                if first is not request:
                    self.run.echoes.append(request)
            for request in new:
                if len(self.threads) < min(self.workers, len(self.flying)):
                    self.threads.append(threading.Thread(target=self._work, name="rankrl-engine", daemon=True))
                    self.threads[-1].start()
                self.todo.put(request)

    def _receive(self) -> bool:
        """Waits for one answer; True when an ordering has gone on with it."""
        key, answer, error = self.done.get()
        if error is not None or answer is None:
            raise error or ValueError("no answer")
        request, waiting = self.flying.pop(key)
        if self.run.on_answer is not None:
            self.run.on_answer(request, answer)
        stepped = False
        for live in waiting:
            live.memory[key] = answer
            del live.missing[key]
            if not live.missing:
                stepped = True
                if self.run.go_on(live):
                    self.held[live.index] = live
        return stepped

    def _work(self) -> None:
        while (request := self.todo.get()) is not None and not self.closing:
            try:
                (answer,) = asked(self.run.engine, [request])
            except BaseException as error:
                self.done.put((request.key, None, error))
            else:
                self.done.put((request.key, answer, None))

    def _end(self, grace_s: float) -> None:
        """Lets the threads go; those in the middle of an answer are waited for a moment, so that a journal can keep it."""
        self.closing = True
        release(self.run.engine, [request for request, _ in self.flying.values()])
        for _ in self.threads:
            self.todo.put(None)
        until = time.monotonic() + grace_s
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()) if self.flying else None)
