"""The original tmon's wire: ``POST /temp``, with millidegrees Celsius, and the token in it."""

from starlette.responses import JSONResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import Wire, WireRequest
from tmon.core.device_values import number
from tmon.core.errors import ApiError, InvalidBody
from tmon.core.reading import Receipt, Refusal

MILLI = 1000


class Original(Wire):
    name = "original"

    def takes_path(self, path: str) -> bool:
        return path.rstrip("/") == "/temp"

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        document = request.json
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict) or "temperature" not in data:
            raise InvalidBody(
                'expected {"type": "temperature", "token": …, "data": {"temperature": …}}'
            )
        try:
            millidegrees = number(data["temperature"])
        except Refusal as refusal:
            batch.reject(refusal, "temperature", data["temperature"])
        else:
            celsius = None if millidegrees is None else millidegrees / MILLI
            batch.add("temperature", celsius, "°C")

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        if receipt.rejected:
            return _error(400, receipt.rejected[0].error)
        return JSONResponse({"success": True})

    def failure(self, error: ApiError) -> Response:
        return _error(error.status, str(error))


def _error(status: int, error: str) -> Response:
    return JSONResponse({"success": False, "error": error}, status)
