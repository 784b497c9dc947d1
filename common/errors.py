"""The errors that Argus answers with: a status, a stable code, a sentence, and what to do about it."""

from __future__ import annotations

from typing import Any


class ArgusError(Exception):
    """Something was refused.

    Subclasses fix `status` (HTTP), `code` (stable, clients match on it), `title` and `action` (what the caller can do).
    `retryable` errors may succeed later; `retry_after` (seconds) then says when. `extra` becomes members of the problem document.
    """

    status = 400
    code = "bad_request"
    title = "The request was refused"
    action = "Correct the request and send it again."
    retryable = False
    retry_after: int | None = None

    def __init__(self, detail: str = "", **extra: Any) -> None:
        self.detail = detail or self.title
        self.extra = extra
        super().__init__(self.detail)

    @property
    def advice(self) -> str:
        """What is wrong and what to do, as sentences for people: titles have no full stop."""
        return f"{self.detail}{'' if self.detail.endswith(('.', '!', '?', ':')) else '.'} {self.action}"


class UnknownField(ArgusError):
    code = "unknown_field"
    title = "The request has a field that does not exist"
    action = "Remove the named fields."


class MalformedBody(ArgusError):
    code = "malformed_body"
    title = "The body cannot be read"
    action = "Send well-formed content of the announced type."


class LengthRequired(ArgusError):
    status = 411
    code = "length_required"
    title = "The request does not say how long its body is"
    action = "Send a Content-Length."


class BodyTooLarge(ArgusError):
    status = 413
    code = "body_too_large"
    title = "The body is larger than allowed"
    action = "Send less at once."


class UnsupportedEncoding(ArgusError):
    status = 415
    code = "unsupported_encoding"
    title = "The body is encoded or only a part"
    action = "Send the bytes of the whole file as they are, without Content-Encoding or Content-Range."


class InvalidField(ArgusError):
    status = 422
    code = "invalid_field"
    title = "A field has a value that is not allowed"


class NotFound(ArgusError):
    status = 404
    code = "not_found"
    title = "There is no such object"
    action = "Check the address; you see only what belongs to you."


class BadObject(NotFound):
    code = "bad_object"
    title = "What is stored is not a regular file"
    action = "Upload the file again."


class BadFilename(ArgusError):
    status = 422
    code = "bad_filename"
    title = "The file name is not allowed"
    action = "Send a plain file name: 1 to 255 bytes, no slash, no backslash, no control character."


class EmptyFile(ArgusError):
    status = 422
    code = "empty_file"
    title = "The file has no bytes"
    action = "Leave empty files out of the batch."


class FileTooLarge(ArgusError):
    status = 413
    code = "file_too_large"
    title = "The file is larger than allowed"
    action = "Split the recording, or ask the operator to raise the limit."


class LengthMismatch(ArgusError):
    status = 422
    code = "length_mismatch"
    title = "The body does not have the announced length"
    action = "Send the file again."


class UploadTooSlow(LengthMismatch):
    status = 408
    code = "too_slow"
    title = "The bytes come too slowly to keep the connection for them"
    action = "Connect again and go on where the upload stopped."
    retryable = True
    retry_after = 1


class DigestMismatch(ArgusError):
    status = 422
    code = "digest_mismatch"
    title = "The received bytes do not have the announced digest"
    action = "Send the file again."


class FileExists(ArgusError):
    status = 409
    code = "file_exists"
    title = "The batch has another file of this name"
    action = "Choose another name; PUT replaces nothing."


class UploadLost(ArgusError):
    status = 409
    code = "upload_lost"
    title = "The upload was given up, because no bytes came for too long or another upload of this name ended first"
    action = "Send the file again."
    retryable = True
    retry_after = 1


class OffsetMismatch(ArgusError):
    status = 409
    code = "offset_mismatch"
    title = "The upload does not stand at this offset"
    action = "Ask for the offset with HEAD and go on from there."


class UploadBusy(ArgusError):
    status = 423
    code = "upload_busy"
    title = "Another request is sending to this upload"
    action = "Wait a moment, ask for the offset with HEAD and go on from there."
    retryable = True
    retry_after = 2


class UploadExpired(ArgusError):
    status = 410
    code = "upload_expired"
    title = "The upload has ended without a file"
    action = "Create a new upload and send the file again."


class NoDirect(ArgusError):
    status = 409
    code = "no_direct"
    title = "The storage has no address of its own that files can be sent to"
    action = "Send the file to Argus, by tus or PUT."


class PartsMissing(ArgusError):
    status = 409
    code = "parts_missing"
    title = "The storage does not have all parts of the file as they were announced"
    action = "Ask for the addresses of the parts, send those that are missing or wrong, then say complete again."


class ChecksumMismatch(ArgusError):
    status = 460
    code = "checksum_mismatch"
    title = "The bytes of this request do not have the announced checksum"
    action = "Send the bytes of this request again."


class TooManyUploads(ArgusError):
    status = 503
    code = "too_many_uploads"
    title = "As many uploads are under way as the server takes at once"
    action = "Send the file again later."
    retryable = True
    retry_after = 5


class QuotaExceeded(ArgusError):
    status = 429
    code = "quota"
    title = "The vehicle has sent as much as it may for now"
    action = "Send the rest later."
    retryable = True
    retry_after = 3600


class TooManyRequests(ArgusError):
    status = 429
    code = "throttled"
    title = "Too many requests"
    action = "Slow down."
    retryable = True
    retry_after = 1


class BatchFull(ArgusError):
    status = 422
    code = "batch_full"
    title = "The batch has as many files as it may have"
    action = "Open another batch."


class BatchExists(ArgusError):
    status = 409
    code = "batch_exists"
    title = "The batch was opened with other content"
    action = "Send what it was opened with, or open another batch with a new id."


class BatchDeleted(ArgusError):
    status = 410
    code = "batch_deleted"
    title = "The batch was deleted"
    action = "Open another batch with a new id."


class BatchClosed(ArgusError):
    status = 409
    code = "batch_closed"
    title = "The batch takes no more files"
    action = "Open another batch, or ask the operator to reopen this one."


class IdempotencyMismatch(ArgusError):
    status = 422
    code = "idempotency_mismatch"
    title = "The Idempotency-Key was used for another request"
    action = "Use a new key for each new request, and the same one only to repeat it."


class InProgress(ArgusError):
    status = 409
    code = "in_progress"
    title = "The first request with this Idempotency-Key still runs"
    action = "Send the request again later."
    retryable = True
    retry_after = 1


class BatchEmpty(ArgusError):
    status = 422
    code = "batch_empty"
    title = "The batch has no files"
    action = "Upload at least one file before complete, or abandon the batch."


class FilesPending(ArgusError):
    status = 409
    code = "files_pending"
    title = "What is stored is not what was announced"
    action = "Upload the files listed as missing, short or corrupt, then say complete again."


class WrongState(ArgusError):
    status = 409
    code = "wrong_state"
    title = "That is not possible in this state"
    action = "Look at the object again: somebody else may have acted."


class NothingSelected(ArgusError):
    status = 422
    code = "nothing_selected"
    title = "No file would run again"
    action = "Choose files that failed, or reprocess the whole batch."


class DiskFull(ArgusError):
    status = 507
    code = "disk_full"
    title = "The storage has no room left"
    action = "Send the file again later."
    retryable = True
    retry_after = 60


class StorageUnavailable(ArgusError):
    status = 503
    code = "storage_unavailable"
    title = "The storage does not answer"
    action = "Send the request again later."
    retryable = True
    retry_after = 10
