"""A small OpenAI-compatible server: real HTTP, answers by script, and failures, silences and lost connections on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """status, JSON body (a string is sent as it is, as text/html), headers; seconds to wait; `drop`: hang up instead."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drop: bool = False


def said(text: str, *, chat: bool = True, reason: str = "stop", logprobs: Any = None, usage: Any = None, **more: Any):
    """The JSON of one completion; `more` goes into the choice, or into the message where it is `message`."""
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    choice = {"index": 0, "finish_reason": reason, "logprobs": logprobs, **more}
    choice |= {"message": message} if chat else {"text": text}
    usage = usage or {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"id": "c", "object": "chat.completion" if chat else "text_completion", "choices": [choice], "usage": usage}


def failed(status: int, message: str, code: str | None = None, **more: Any) -> Reply:
    """An error as OpenAI spells it; no pause before trying again unless told."""
    headers = {"retry-after-ms": "1", **more.pop("headers", {})}
    return Reply({"error": {"message": message, "type": "t", "code": code}}, status, headers, **more)


def chat_logprobs(*tokens: tuple[str, float, dict[str, float]]) -> dict[str, Any]:
    """(text, log-probability, alternatives) of each token in the layout of chat completions."""

    def entry(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        "content": [
            {**entry(text, logprob), "top_logprobs": [entry(*other) for other in top.items()]}
            for text, logprob, top in tokens
        ]
    }


class OpenaiServer:
    """Serves `script(path, body) -> Reply or JSON` at `url` while the `with` block runs.

    asked: (path, body, headers) of every request, tries that failed included. most: the most requests that were in work at once.
    """

    def __init__(self, script: Callable[[str, dict[str, Any]], Any]) -> None:
        self.script = script
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> OpenaiServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer._lock:
                    outer.asked.append((self.path, body, dict(self.headers)))
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                try:
                    given = outer.script(self.path, body)
                    reply = given if isinstance(given, Reply) else Reply(given)
                    time.sleep(reply.wait_s)
                finally:
                    with outer._lock:
                        outer._now -= 1
                self._send(reply)

            def _send(self, reply: Reply) -> None:
                self.close_connection = reply.drop
                if reply.drop:
                    return
                raw = isinstance(reply.body, str)
                data = (reply.body if raw else json.dumps(reply.body)).encode()
                try:
                    self.send_response(reply.status)
                    self.send_header("content-type", "text/html" if raw else "application/json")
                    self.send_header("content-length", str(len(data)))
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # who asked has gone
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON of every request so far."""
        return [body for _, body, _ in self.asked]
