"""What the API description says beyond the views: HEAD where a view has one of its own, and the headers of answers."""

from __future__ import annotations

from typing import Any

Header = dict[str, Any]


def _text(description: str, **schema: Any) -> Header:
    return {"description": description, "schema": {"type": "string", **schema}}


def _number(description: str) -> Header:
    return {"description": description, "schema": {"type": "integer", "minimum": 0}}


REQUEST_ID = {"X-Request-ID": _text("names the request in the log")}
RETRY_AFTER = {"Retry-After": _number("seconds after which the same request may succeed")}
OFFSET = {"Upload-Offset": _number("bytes that are stored for good; the next one to send")}
EXPIRES = {"Upload-Expires": _text("when the upload ends if nobody asks for it any more")}
LOCATION = {"Location": _text("where it is", format="uri")}
REPLAYED = {"Idempotency-Replayed": _text("this is the answer to an earlier request with the same Idempotency-Key", enum=["true"])}

# By status, on every answer of that status.
BY_STATUS: dict[str, dict[str, Header]] = {
    "401": {"WWW-Authenticate": _text("how to authenticate")},
    **dict.fromkeys(("409", "423", "429", "503", "507"), RETRY_AFTER),
    "412": {"Tus-Version": _text("versions of tus that are spoken")},
}
ETAG = {"ETag": _text("changes with everything but `server_time`"), "Cache-Control": _text("private, to be asked again each time")}
BY_OPERATION: dict[tuple[str, str], dict[str, Header]] = {
    ("openBatch", "201"): LOCATION,
    ("openBatchAs", "200"): LOCATION,
    ("openBatchAs", "201"): LOCATION,
    ("getBatch", "200"): ETAG,
    ("getBatch", "304"): ETAG,
    ("createUpload", "201"): {**LOCATION, **OFFSET, **EXPIRES},
    ("createUpload", "409"): OFFSET,
    ("headUpload", "200"): {
        **OFFSET,
        **EXPIRES,
        "Upload-Length": _number("bytes of the whole file, when known"),
        "Upload-Defer-Length": _text("the length is not known yet", enum=["1"]),
        "Upload-Metadata": _text("as it was sent"),
        "Cache-Control": _text("never kept", enum=["no-store"]),
    },
    ("patchUpload", "204"): {**OFFSET, **EXPIRES},
    ("patchUpload", "409"): OFFSET,
}
TUS = ("createUpload", "headUpload", "patchUpload", "deleteUpload")
TUS_RESUMABLE = {"Tus-Resumable": _text("the version of tus", enum=["1.0.0"])}


def with_head(endpoints: list[tuple[str, str, str, Any]], **more: Any) -> list[tuple[str, str, str, Any]]:
    """Addresses that answer HEAD by a method of their own have it in the description; elsewhere it is GET without the body."""
    by_path = {path: (path, regex, "HEAD", callback) for path, regex, _, callback in endpoints if hasattr(callback.cls, "head")}
    return [*endpoints, *by_path.values()]


def with_headers(result: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The headers of every answer; none to HEAD has a body."""
    for methods in result["paths"].values():
        for method, operation in methods.items():
            name = operation["operationId"]
            keyed = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
            for status, answer in operation["responses"].items():
                if method == "head":
                    answer.pop("content", None)
                answer["headers"] = {
                    **REQUEST_ID,
                    **BY_STATUS.get(status, {}),
                    **(TUS_RESUMABLE if name in TUS else {}),
                    **(REPLAYED if keyed and status in {"200", "201", "202", "400", "413", "415", "422"} else {}),
                    **BY_OPERATION.get((name, status), {}),
                }
    return result
