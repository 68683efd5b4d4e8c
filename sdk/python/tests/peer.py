"""A small server that speaks the protocol on a real socket, and can misbehave on demand.

It keeps logs in memory and knows one user, `me`; `say` lets others talk.  One port serves REST, the
WebSocket and the event stream.  Faults are fields that a test sets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.datastructures import Headers
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

Frame = dict[str, Any]
ME = "u-me"


class Talk:
    """One connection of `/v1/ws`."""

    def __init__(self, peer: Peer, ws: ServerProtocol, writer: asyncio.StreamWriter) -> None:
        self.peer = peer
        self.ws = ws
        self.writer = writer
        self.signed_in = False
        self.sign_in: Frame = {}
        self.received: list[Frame] = []

    def raw(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, frame: Frame) -> None:
        self.text(json.dumps(frame).encode())

    def text(self, data: bytes) -> None:
        self.ws.send_text(data)
        self.flush()

    def close(self, code: int, reason: str = "") -> None:
        self.ws.send_close(code, reason)
        self.flush()

    def drop(self) -> None:
        self.writer.transport.abort()

    def flush(self) -> None:
        for data in self.ws.data_to_send():
            if data:
                self.writer.write(data)


class Peer:
    """`async with Peer() as peer:` … `peer.url`."""

    def __init__(self) -> None:
        self.generation = "g1"
        self.heartbeat_ms = 30_000
        self.token_life_s = 3600
        self.replay = 500
        self.logs: dict[str, list[Frame]] = {ME: []}
        self.docs: dict[str, Frame] = {}
        self.done: dict[str, Frame] = {}
        self.talks: list[Talk] = []
        self.streams: list[asyncio.StreamWriter] = []
        self.requests: list[str] = []
        self.tokens = 0
        self.good_tokens: set[str] = set()
        self.refresh_tokens: set[str] = set()
        self.cursors: dict[str, dict[str, int]] = {}
        self.hidden: set[int] = set()
        # faults
        self.refuse_upgrade: int | None = None
        self.close_after_hello: list[tuple[int, str]] = []
        self.no_hello = False
        self.mute = False
        self.drop_before_ack = 0
        self.refusals: list[Frame] = []
        self.mangle: Callable[[Frame], list[Frame]] = lambda frame: [frame]
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.room("c1")

    # --- the world -------------------------------------------------------------------------------

    def room(self, name: str, kind: str = "group") -> None:
        self.logs[name] = []
        self.docs[name] = {"id": name, "kind": kind, "name": name, "role": "member"}

    def commit(self, log: str, kind: str, body: Frame, *, user: str = ME, **more: Any) -> Frame:
        """Append an event and tell everyone."""
        events = self.logs[log]
        before = events[-1] if events else {"ordinal": 0}
        counts = kind == "message.new" and not more.get("thread")
        frame: Frame = {
            "type": kind,
            "conversation": log,
            "seq": len(events) + 1,
            "at": 1000 + len(events),
            "user": user,
            "ordinal": before["ordinal"] + counts,
            **more,
            "body": body,
        }
        events.append(frame)
        self.tell(frame)
        return frame

    def say(self, log: str, text: str, *, user: str = "u-other", **more: Any) -> Frame:
        return self.commit(log, "message.new", {"content": {"type": "text", "text": text}}, user=user, **more)

    def tell(self, frame: Frame) -> None:
        for sent in self.mangle(frame):
            for talk in self.live:
                talk.send(sent)
            for stream in self.streams:
                stream.write(_sse(sent))

    @property
    def live(self) -> list[Talk]:
        return [talk for talk in self.talks if talk.signed_in and not talk.writer.is_closing()]

    @property
    def texts(self) -> list[str]:
        return [e["body"]["content"]["text"] for e in self.logs["c1"] if e["type"] == "message.new"]

    def heads(self) -> list[Frame]:
        return [
            {
                "conversation": log,
                "kind": "personal" if log == ME else self.docs[log]["kind"],
                "seq": len(events),
                "updated_at": 1,
            }
            for log, events in self.logs.items()
        ]

    def hello(self) -> Frame:
        return {
            "type": "hello",
            "session": "s",
            "user": ME,
            "device": "d",
            "tenant": "t",
            "generation": self.generation,
            "at": 1,
            "expires_at": 1 + self.token_life_s * 1000,
            "heartbeat_ms": self.heartbeat_ms,
            "limits": {"frame_bytes": 1},
            "heads": self.heads(),
        }

    def new_tokens(self) -> Frame:
        self.tokens += 1
        access, refresh = f"access-{self.tokens}", f"refresh-{self.tokens}"
        self.good_tokens.add(access)
        self.refresh_tokens.add(refresh)
        return {
            "access_token": access,
            "expires_in": self.token_life_s,
            "refresh_token": refresh,
            "user": ME,
            "device": "d",
        }

    # --- sockets ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._serving.discard(task)
            if writer in self.streams:
                self.streams.remove(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").strip().split("\r\n")
            method, target, _ = line.split(" ")
            headers = {k.lower(): v for k, _, v in (field.partition(": ") for field in fields)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            if headers.get("upgrade", "").lower() == "websocket":
                await self._websocket(head, reader, writer)
                return
            url = urlsplit(target)
            self.requests.append(f"{method} {url.path}")
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            if url.path == "/v1/events":
                await self._stream(bearer, reader, writer)
                return
            parts = [unquote(part) for part in url.path.split("/")[2:]]
            query = {k: v[0] for k, v in parse_qs(url.query).items()}
            status, answer = self._rest(
                method, parts, query, json.loads(body) if body else {}, bearer, headers
            )
            payload = b"" if answer is None else json.dumps(answer).encode()
            more = "Retry-After: 0\r\n" if status in (429, 503) else ""
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(payload)}\r\n{more}\r\n".encode() + payload
            )
            await writer.drain()

    # --- REST ------------------------------------------------------------------------------------

    def _rest(
        self,
        method: str,
        parts: list[str],
        query: Frame,
        body: Frame,
        bearer: str,
        headers: dict[str, str],
    ) -> tuple[int, Frame | None]:
        if parts[0] == "sessions":
            return self._tokens(parts, body)
        if bearer not in self.good_tokens:
            return 401, {"code": "token_expired", "detail": "Expired."}
        if method == "GET":
            return self._get(parts, query)
        match method, parts:
            case "POST", ["conversations", name, "messages"]:
                key = headers["idempotency-key"]
                return self._send({**body, "conversation": name, "client_id": key})
            case "PUT", ["conversations", name, "cursors"]:
                self.cursors.setdefault(name, {}).update(body)
            case _:
                pass
        return 204, None

    def _tokens(self, parts: list[str], body: Frame) -> tuple[int, Frame]:
        if parts == ["sessions"]:
            if body["password"] == "right":
                return 200, self.new_tokens()
            return 401, {"code": "credentials_refused", "detail": "No.", "request_id": "r1"}
        if body["refresh_token"] not in self.refresh_tokens:
            return 401, {"code": "credentials_refused", "detail": "Used."}
        self.refresh_tokens.discard(body["refresh_token"])
        return 200, self.new_tokens()

    def _get(self, parts: list[str], query: Frame) -> tuple[int, Frame]:
        match parts:
            case ["me"]:
                return 200, {"id": ME, "handle": "me", "name": "Me"}
            case ["me", "settings"]:
                return 200, {}
            case ["conversations", name, *_] if name not in self.docs:
                return 404, {"code": "not_found", "detail": "No such conversation."}
            case ["conversations", name]:
                return 200, self._doc(name)
            case ["conversations"]:
                items = [self._doc(name) for name in self.docs]
            case ["conversations", name, "messages"]:
                before = int(query.get("cursor") or query.get("before") or 2**53)
                older = [m for m in self._messages(name) if m["seq"] < before]
                page = older[-int(query.get("limit", "50")) :]
                more = str(page[0]["seq"]) if len(page) < len(older) else None
                shown = [m for m in page if m["seq"] not in self.hidden]
                return 200, {"items": shown, "next_cursor": more}
            case ["conversations", name, "events"]:
                items = self.logs[name][int(query["after"]) :][: int(query["limit"])]
            case ["me", "events"]:
                items = self.logs[ME][int(query["after"]) :][: int(query["limit"])]
            case _:
                items = []
        return 200, {"items": items, "next_cursor": None}

    def _doc(self, name: str) -> Frame:
        events = self.logs[name]
        messages = self._messages(name)
        return {
            "unread": events[-1]["ordinal"] if events else 0,
            **self.docs[name],
            "last_seq": len(events),
            "message_count": events[-1]["ordinal"] if events else 0,
            "updated_at": events[-1]["at"] if events else 0,
            "last_message": messages[-1] if messages else None,
        }

    def _messages(self, name: str) -> list[Frame]:
        found: dict[int, Frame] = {}
        for event in self.logs[name]:
            if event["type"] == "message.new":
                found[event["seq"]] = {
                    "id": f"{name}.{event['seq']}",
                    "conversation": name,
                    "seq": event["seq"],
                    "at": event["at"],
                    "user": event["user"],
                    "content": event["body"]["content"],
                    "client_id": event.get("client_id"),
                    "ordinal": event["ordinal"],
                }
            elif event["type"] == "reaction.new":
                doc = found[event["target"]]
                emoji = event["body"]["emoji"]
                doc["reactions"] = {emoji: doc.get("reactions", {}).get(emoji, 0) + 1}
                doc["changed_seq"] = event["seq"]
        return list(found.values())

    def _send(self, command: Frame) -> tuple[int, Frame]:
        if self.refusals:
            refusal = self.refusals.pop(0)
            return int(refusal.get("status", 400)), refusal
        key = command["client_id"]
        if key in self.done:
            return 200, {**self.done[key], "repeated": True}
        frame = self.commit(
            command["conversation"], "message.new", {"content": command["content"]}, client_id=key
        )
        self.done[key] = {"conversation": frame["conversation"], "seq": frame["seq"], "at": frame["at"]}
        return 201, self.done[key]

    # --- the WebSocket ---------------------------------------------------------------------------

    async def _websocket(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ws = ServerProtocol(max_size=2**20)
        ws.receive_data(head)
        request = ws.events_received()[0]
        assert isinstance(request, Request)
        if self.refuse_upgrade is not None:
            response = ws.reject(self.refuse_upgrade, "no")
        else:
            response = ws.accept(request)
        assert isinstance(response.headers, Headers)
        ws.send_response(response)
        talk = Talk(self, ws, writer)
        talk.flush()
        if self.refuse_upgrade is not None:
            return
        self.talks.append(talk)
        while data := await reader.read(65536):
            ws.receive_data(data)
            for event in ws.events_received():
                if getattr(event, "opcode", None) is Opcode.TEXT:
                    frame = json.loads(event.data)
                    talk.received.append(frame)
                    if not self.mute:
                        self._frame(talk, frame)
            talk.flush()
            if ws.close_expected():
                return

    def _frame(self, talk: Talk, frame: Frame) -> None:
        kind, ref = frame["type"], frame.get("ref")
        if not talk.signed_in:
            self._sign_in(talk, frame)
            return
        match kind:
            case "ping":
                talk.send({"type": "pong", "ref": ref, "at": 1})
            case "refresh":
                talk.send({"type": "done", "ref": ref})
            case "events.read":
                events = self.logs[frame["conversation"]][frame["after"] :]
                page = events[: frame["limit"]]
                talk.send(
                    {
                        "type": "events",
                        "ref": ref,
                        "conversation": frame["conversation"],
                        "events": page,
                        "more": len(events) > len(page),
                    }
                )
            case "message.send":
                status, answer = self._send(frame)
                if self.drop_before_ack:
                    self.drop_before_ack -= 1
                    talk.drop()
                elif status >= 400:
                    talk.send({"type": "error", "ref": ref, **answer})
                else:
                    talk.send({"type": "ack", "ref": ref, "result": answer})
            case "presence.watch":
                for user in frame["users"]:
                    talk.send({"type": "presence", "user": user, "state": "online"})
                talk.send({"type": "done", "ref": ref})
            case "message.read" | "message.received":
                self.cursors.setdefault(frame["conversation"], {})[kind.split(".")[1]] = frame["seq"]
                talk.send({"type": "ack", "ref": ref, "result": {}})
            case _:
                talk.send({"type": "error", "ref": ref, "code": "unsupported", "detail": "No such frame."})

    def _sign_in(self, talk: Talk, frame: Frame) -> None:
        talk.sign_in = frame
        if frame["token"] not in self.good_tokens:
            talk.send({"type": "error", "code": "token_expired", "detail": "Expired."})
            talk.close(4001, "reconnect: with a new token")
            return
        if self.no_hello:
            return
        talk.send(self.hello())
        talk.signed_in = True
        if self.close_after_hello:
            talk.close(*self.close_after_hello.pop(0))
            return
        if "positions" not in frame:
            return
        if frame["generation"] != self.generation:
            talk.send({"type": "resync", "generation": self.generation})
            return
        for log, position in frame["positions"].items():
            missed = self.logs.get(log, [])[position:]
            if len(missed) > self.replay:
                cut = {"from": position + 1, "to": len(self.logs[log])}
                talk.send({"type": "truncated", "conversation": log, **cut})
                continue
            for event in missed:
                talk.send(event)
        talk.send({"type": "resumed"})

    # --- server-sent events ----------------------------------------------------------------------

    async def _stream(self, bearer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if bearer not in self.good_tokens:
            writer.write(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        writer.write(_sse(self.hello()))
        self.streams.append(writer)
        await reader.read()


def _sse(frame: Frame) -> bytes:
    seq = frame.get("seq", 0)
    return f"id: {frame.get('conversation', '')}:{seq}\ndata: {json.dumps(frame)}\n\n".encode()
