"""The floor: FastAPI and aiohttp, which take a body, send it on, take the answer, send it back. Nothing else."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI, Request, Response


def create_app() -> FastAPI:
    """The application; the backends' ports stand in BENCH_BACKENDS."""
    ports = itertools.cycle(os.environ["BENCH_BACKENDS"].split(","))  # noqa: TID251 - a bench has no settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            app.state.session = session
            yield

    app = FastAPI(lifespan=lifespan)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def pass_on(path: str, request: Request) -> Response:
        body = await request.body()
        url = f"http://127.0.0.1:{next(ports)}/{path}"
        async with app.state.session.request(request.method, url, data=body or None) as answer:
            return Response(await answer.read(), answer.status, media_type=answer.content_type)

    return app
