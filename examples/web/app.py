"""Thumbnails: a small web application whose jobs run elsewhere and whose pages are told as they move.

Start it with its workers by `python start.py`; this file alone is the web server.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

import actorq
import shelf
from board import Board, Card, View
from jobs import broker, thumbnail
from pictures import landscape, refusal


STATIC = Path(__file__).parent / "static"
LARGEST = 20_000_000  # bytes of an upload
HEARTBEAT = 15.0  # seconds: shorter than what proxies take for silence


class EventStream(Response):
    """The cards of a view as Server-Sent Events, until the browser leaves or the board closes."""

    def __init__(self, board: Board) -> None:
        self._board = board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with trio.open_nursery() as nursery:
            with self._board.view() as view:
                nursery.start_soon(_until_left, receive, nursery.cancel_scope)
                await _tell(view, send)
            nursery.cancel_scope.cancel(reason="the board has closed")
        await send({"type": "http.response.body", "body": b""})


async def _tell(view: View, send: Send) -> None:
    await send(_event("all", view.take()))  # a browser that comes back forgets what it had
    while True:
        news: list[Card] | None = []
        with trio.move_on_after(HEARTBEAT):
            news = await anext(view, None)
        if news is None:
            return
        await send(_event("some", news))  # none of them: a sign of life


def _event(kind: str, cards: list[Card]) -> dict[str, Any]:
    data = json.dumps([attrs.asdict(card) for card in cards])
    lines = f"retry: 1000\nevent: {kind}\ndata: {data}\n\n"
    return {"type": "http.response.body", "body": lines.encode(), "more_body": True}


async def _until_left(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel(reason="the browser has left")


def application(board: Board, system: actorq.System) -> Starlette:
    """The pages of *board*."""

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def events(request: Request) -> Response:
        return EventStream(board)

    async def upload(request: Request) -> Response:
        data = b""
        async for chunk in request.stream():
            data += chunk
            if len(data) > LARGEST:
                raise HTTPException(413, f"at most {LARGEST // 1_000_000} MB, please")
        if why := await trio.to_thread.run_sync(refusal, data):
            raise HTTPException(415, why)
        return await accept(request, request.query_params.get("name", "photo")[:100], data)

    async def draw(request: Request) -> Response:
        seed = random.randrange(10_000)
        return await accept(
            request, f"landscape {seed}", await trio.to_thread.run_sync(landscape, seed)
        )

    async def accept(request: Request, name: str, data: bytes) -> Response:
        card = await trio.to_thread.run_sync(partial(shelf.add, name, data, pause(request)))
        board.add(card)
        return JSONResponse(attrs.asdict(card), 201)

    async def cancel(request: Request) -> Response:
        card = known(request)
        return JSONResponse({"cancelled": await system.handle(card.task_id).cancel()})

    async def again(request: Request) -> Response:
        card = known(request)
        if not card.has_ended:
            raise HTTPException(409, "this job has not ended")
        card = await trio.to_thread.run_sync(partial(shelf.again, card, pause(request)))
        board.add(card)
        return JSONResponse(attrs.asdict(card), 201)

    def pause(request: Request) -> float:
        try:
            return min(max(float(request.query_params.get("pause", "0")), 0.0), 10.0)
        except ValueError:
            raise HTTPException(400, "pause expects seconds") from None

    async def picture(request: Request) -> Response:
        card, width = known(request), request.path_params["width"]
        if width not in card.made:
            raise HTTPException(404, "there is no picture of this width (yet)")
        return FileResponse(thumbnail(card.id, width))

    def known(request: Request) -> Card:
        try:
            return board.cards[request.path_params["id"]]
        except KeyError:
            raise HTTPException(404, "there is no such photo") from None

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 503
        detail = error.detail if isinstance(error, HTTPException) else str(error)
        return JSONResponse({"error": detail}, status)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/events", events),
            Route("/photos", upload, methods=["POST"]),
            Route("/landscapes", draw, methods=["POST"]),
            Route("/photos/{id}/cancel", cancel, methods=["POST"]),
            Route("/photos/{id}/again", again, methods=["POST"]),
            Route("/photos/{id}/{width:int}.jpg", picture),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={HTTPException: refuse, actorq.EngineUnavailable: refuse},
    )


async def main(host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.loglevel = "WARNING"
    config.graceful_timeout = 3
    await trio.to_thread.run_sync(shelf.prepare)
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            actorq.open_system(broker, role="client") as system,
            trio.open_nursery() as following,
        ):
            board = Board(system, following)
            for card in await trio.to_thread.run_sync(shelf.cards):  # of earlier runs, too
                board.add(card)
            async with trio.open_nursery() as serving:
                pages: Any = application(board, system)
                (url,) = await serving.start(
                    partial(serve, pages, config, shutdown_trigger=stop.wait)
                )
                print(f"thumbnails: {url}", flush=True)
                await anext(signals)
                board.close()  # or the server would wait for the event streams to end
                stop.set()
            following.cancel_scope.cancel(reason="the server has stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="The web server alone; start.py starts the workers, too."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    trio.run(main, arguments.host, arguments.port)
