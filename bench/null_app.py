"""The limit that HTTP sets: a Starlette app that reads the request and answers 204."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def post_readings(request: Request) -> Response:
    await request.body()
    return Response(status_code=204)


if __name__ == "__main__":
    app = Starlette(routes=[Route("/readings", post_readings, methods=["POST"])])
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        access_log=False,
        log_level="warning",
    )
