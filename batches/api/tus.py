"""Resumable uploads by tus 1.0.0 (https://tus.io/protocols/resumable-upload) with all its extensions but concatenation."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.http import http_date
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from batches import intake, receiving
from batches.api import access, body, describe, digests, limits, tus_headers
from batches.api.idempotency import key_of, once
from batches.api.views import BatchView
from common.errors import ChecksumMismatch, OffsetMismatch
from files import uploads
from files.models import Upload, UploadState, Way
from files.uploads.checksums import ALGORITHMS
from vehicles.api.authentication import TokenAuthentication
from vehicles.models import Vehicle

OVERRIDES = {"PATCH", "DELETE", "HEAD"}
REASONS = {460: "Checksum Mismatch"}


class TusView(BatchView):
    """What both tus addresses share: the version on the way in, the headers on the way out."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [TokenAuthentication]  # type: ignore[misc]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """X-HTTP-Method-Override: for clients and proxies that know no PATCH."""
        if request.method == "POST" and (wanted := request.META.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()) in OVERRIDES:
            request.method = wanted
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Rights first: who has none learns nothing of versions."""
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS":
            tus_headers.need_version(request.META)

    def vehicle(self, request: Request) -> Vehicle:
        """Who sends."""
        vehicle = access.vehicle_of(request)
        assert vehicle is not None  # only a vehicle's token has the right
        return vehicle

    def upload(self, request: Request, upload_id: UUID) -> Upload:
        """The upload, if it is the vehicle's; NotFound."""
        return receiving.get_upload(upload_id, self.vehicle(request))

    def located(self, request: Request, response: HttpResponseBase) -> Upload:
        """The upload whose address an earlier answer had."""
        return self.upload(request, UUID(response["Location"].rpartition("/")[2]))

    def handle_exception(self, exc: Exception) -> Response:
        """The problem document, with what tus wants in headers besides."""
        response = super().handle_exception(exc)
        if isinstance(exc, OffsetMismatch):
            response["Upload-Offset"] = str(exc.extra["offset"])
        if isinstance(exc, tus_headers.OtherVersion):
            response["Tus-Version"] = tus_headers.VERSION
        if isinstance(exc, ChecksumMismatch):
            response.reason_phrase = REASONS[exc.status]
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Tus-Resumable on every answer; none to HEAD has a body."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Tus-Resumable"] = tus_headers.VERSION
        if request.method == "HEAD":
            response.data = None
        return response

    @extend_schema(exclude=True)
    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """What this server can do."""
        return Response(
            status=204,
            headers={
                "Tus-Version": tus_headers.VERSION,
                "Tus-Extension": tus_headers.EXTENSIONS,
                "Tus-Max-Size": str(intake.largest_file()),
                "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            },
        )


class UploadList(TusView):
    """Where uploads are created."""

    needs: ClassVar = {"POST": access.SEND}

    @extend_schema(
        operation_id="createUpload",
        summary="Begin a resumable upload (tus)",
        request=describe.TUS_BYTES,
        parameters=describe.TUS_CREATION,
        responses={201: OpenApiResponse(description="its address stands in Location"), **describe.TUS_CREATION_PROBLEMS},
    )
    def post(self, request: Request, batch_id: UUID) -> Response:
        """With a body, its first bytes are taken at once. A file that is expected or was begun before goes on under the same address."""
        meta = request.META
        size = tus_headers.announced_length(meta)
        described = tus_headers.described(tus_headers.metadata(meta))
        offer = intake.Offer(size=size, way=Way.TUS, metadata=meta.get("HTTP_UPLOAD_METADATA", ""), **described)
        if body.length(request._request) != 0 and "CONTENT_TYPE" in meta:
            return self._with_bytes(request, batch_id, offer)
        return self._begun(request, batch_id, offer)

    def _begun(self, request: Request, batch_id: UUID, offer: intake.Offer) -> Any:
        """The answer without bytes; to an Idempotency-Key that was used before, the one of then, and where the upload stands now."""
        made: list[receiving.Begun] = []

        def begin() -> Response:
            made.append(receiving.begin_upload(batch_id, offer, vehicle_id=self.vehicle(request).pk))
            return self._created(request, made[0].upload, 0)

        response = once(self, request, f"{offer.size} {offer.metadata}".encode(), begin)
        if response.status_code == 201:
            actor = access.actor_of(request)
            offset = receiving.resume(made[0], actor=actor) if made else receiving.offset_of(self.located(request, response), actor=actor)
            response["Upload-Offset"] = str(offset)
        return response

    @limits.one_upload
    def _with_bytes(self, request: Request, batch_id: UUID, offer: intake.Offer) -> Any:
        tus_headers.need_offset_type(request.META)
        checksum, actor = digests.of_body(request.META, tus_headers.checksum(request.META)), access.actor_of(request)
        source = body.Body(request._request, intake.largest_file() if offer.size is None else offer.size)
        if key_of(request) is None:
            vehicle_id = self.vehicle(request).pk
            upload, offset = receiving.create_with_bytes(
                batch_id, offer, source.chunks(), vehicle_id=vehicle_id, checksum=checksum, actor=actor
            )
            return self._created(request, upload, offset)
        response = self._begun(request, batch_id, offer)
        if response.status_code == 201 and response["Upload-Offset"] == "0":
            upload = self.located(request, response)
            response["Upload-Offset"] = str(receiving.append(upload, source.chunks(), offset=0, checksum=checksum, actor=actor))
        return response

    def _created(self, request: Request, upload: Upload, offset: int) -> Response:
        headers = {"Location": reverse("upload", kwargs={"upload_id": upload.pk}, request=request), "Upload-Offset": str(offset)}
        return Response(status=201, headers={**headers, **_expires(upload)})


class UploadDetail(TusView):
    """One upload."""

    needs: ClassVar = {"HEAD": access.SEND, "PATCH": access.SEND, "DELETE": access.SEND}

    @extend_schema(
        operation_id="headUpload",
        summary="Ask where an upload stands (tus)",
        parameters=[describe.TUS_RESUMABLE],
        responses={200: OpenApiResponse(description="the headers say it"), **describe.problems(404, 410, 412, 429)},
    )
    def head(self, request: Request, upload_id: UUID) -> Response:
        """Upload-Offset is where the next byte belongs; it is Upload-Length when the file is stored, or about to be verified."""
        upload = self.upload(request, upload_id)
        offset = receiving.offset_of(upload, actor=access.actor_of(request))
        length = {"Upload-Defer-Length": "1"} if upload.declared_size is None else {"Upload-Length": str(upload.declared_size)}
        headers = {"Upload-Offset": str(offset), "Cache-Control": "no-store", **length, **_expires(upload)}
        if upload.metadata:
            headers["Upload-Metadata"] = upload.metadata
        return Response(status=200, headers=headers)

    @extend_schema(
        operation_id="patchUpload",
        summary="Send bytes of an upload (tus)",
        request=describe.TUS_BYTES,
        parameters=describe.TUS_PATCH,
        responses={204: OpenApiResponse(description="taken; Upload-Offset says up to where"), **describe.TUS_PATCH_PROBLEMS},
    )
    @limits.one_upload
    def patch(self, request: Request, upload_id: UUID) -> Response:
        """What came stays when the connection breaks, except with Upload-Checksum, where all of a request counts or nothing."""
        meta = request.META
        tus_headers.need_offset_type(meta)
        offset = tus_headers.number(meta, "Upload-Offset")
        if offset is None:
            raise tus_headers.BadHeader("Upload-Offset is missing.")
        checksum, size = digests.of_body(meta, tus_headers.checksum(meta)), tus_headers.number(meta, "Upload-Length")
        upload = self.upload(request, upload_id)
        source = body.Body(request._request, receiving.room_in(upload, offset, size))
        offset = receiving.append(upload, source.chunks(), offset=offset, size=size, checksum=checksum, actor=access.actor_of(request))
        return Response(status=204, headers={"Upload-Offset": str(offset), **_expires(upload)})

    @extend_schema(
        operation_id="deleteUpload",
        summary="Give up an upload (tus)",
        parameters=[describe.TUS_RESUMABLE],
        responses={204: OpenApiResponse(description="its bytes are gone"), **describe.problems(404, 409, 410, 412, 429)},
    )
    def delete(self, request: Request, upload_id: UUID) -> Response:
        """A file that is complete stays."""
        receiving.terminate_upload(self.upload(request, upload_id))
        return Response(status=204)


def _expires(upload: Upload) -> dict[str, str]:
    """A finished upload does not expire."""
    if upload.state == UploadState.FINISHED:
        return {}
    return {"Upload-Expires": http_date((timezone.now() + uploads.IDLE).timestamp())}
