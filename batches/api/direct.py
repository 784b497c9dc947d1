"""Files straight to the store: addresses for their parts, and the word that all have been sent."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from batches import direct, receiving
from batches.api import access, describe
from batches.api.serializers import KIND, LARGEST, StrictSerializer
from batches.api.views import BatchView
from files.direct import LARGEST_PART, SMALLEST_PART, Plan
from files.models import COMING, Upload, UploadState, Way
from vehicles.api.authentication import TokenAuthentication

MOST_PARTS = 10_000
STATES = (*COMING, UploadState.FINISHED)


class NewDirectUpload(StrictSerializer):
    """A file that a vehicle wants to send straight to the store."""

    name = serializers.CharField(max_length=255, trim_whitespace=False)
    size = serializers.IntegerField(min_value=0, max_value=LARGEST)
    sha256 = serializers.RegexField(r"^[0-9a-fA-F]{64}$")
    kind = serializers.RegexField(
        rf"^{KIND.pattern}$", required=False, help_text="what the file is, up to 32 letters, digits, '.', '_' or '-'"
    )
    part_size = serializers.IntegerField(
        min_value=SMALLEST_PART, max_value=LARGEST_PART, required=False, help_text="bytes of each part; very large files get larger ones"
    )


class SentPart(StrictSerializer):
    """A part that the store has taken."""

    number = serializers.IntegerField(min_value=1, max_value=MOST_PARTS)
    etag = serializers.CharField(max_length=200, help_text="as the store has answered it")


class DirectCompletion(StrictSerializer):
    """All parts have been sent; ETags that are named are compared."""

    parts = serializers.ListField(child=SentPart(), required=False, max_length=MOST_PARTS)


class DirectPart(serializers.Serializer):
    """One part of the file."""

    number = serializers.IntegerField()
    size = serializers.IntegerField(help_text="the store refuses another length")
    etag = serializers.CharField(allow_null=True, help_text="of a part that is there")
    url = serializers.URLField(allow_null=True, help_text="where a part that is not there can be sent with PUT, without any token")


class DirectUpload(serializers.Serializer):
    """An upload straight to the store."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=[(str(state), state.label) for state in STATES])
    size = serializers.IntegerField()
    error = serializers.CharField(allow_null=True, help_text="code of the error that made all bytes necessary again")
    part_size = serializers.IntegerField(help_text="bytes of each part but the last; 0 for a file that came by another way")
    parts = DirectPart(many=True, help_text="in their order; empty once all have been sent")
    expires_at = serializers.DateTimeField(allow_null=True, help_text="until when the addresses are good; ask for new ones then")


def _shape(plan: Plan) -> dict[str, Any]:
    upload = plan.upload
    return {
        "id": upload.pk,
        "state": upload.state,
        "size": upload.declared_size,
        "error": upload.error_code or None,
        "part_size": plan.part_size,
        "parts": [
            {"number": part.number, "size": part.size, "etag": part.etag or None, "url": part.address or None} for part in plan.parts
        ],
        "expires_at": plan.expires_at,
    }


class DirectView(BatchView):
    """What all three share: tokens of vehicles only, and addresses that nobody else may see."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [TokenAuthentication]  # type: ignore[misc]

    def upload(self, request: Request, upload_id: UUID) -> Upload:
        """The upload, if it is the vehicle's; NotFound."""
        vehicle = access.vehicle_of(request)
        assert vehicle is not None  # only a vehicle's token has the right
        return receiving.get_upload(upload_id, vehicle)

    def told(self, plan: Plan, status: int) -> Response:
        """The plan; whoever has a signed address may use it, so that no cache may keep it."""
        return Response(_shape(plan), status=status, headers={"Cache-Control": "no-store"})


class DirectUploadList(DirectView):
    """Where uploads to the store begin."""

    needs: ClassVar = {"POST": access.SEND}

    @extend_schema(
        operation_id="createDirectUpload",
        summary="Begin an upload straight to the store",
        request=NewDirectUpload,
        responses={200: DirectUpload, 201: DirectUpload, **describe.problems(400, 404, 409, 411, 413, 415, 422, 423, 429, 507)},
    )
    def post(self, request: Request, batch_id: UUID) -> Response:
        """Send each part with PUT to its address. Said again for the same file, it goes on: only parts that are missing have an address."""
        wanted = self.checked(request, NewDirectUpload)
        self.batch(request, batch_id)
        offer = receiving.Offer(wanted["name"], wanted.get("kind", ""), wanted["size"], wanted["sha256"].lower(), Way.DIRECT)
        plan, is_new = direct.begin(batch_id, offer, wanted.get("part_size"))
        return self.told(plan, 201 if is_new else 200)


class DirectUploadParts(DirectView):
    """The parts of one upload."""

    needs: ClassVar = {"GET": access.SEND}

    @extend_schema(
        operation_id="getDirectParts",
        summary="Ask which parts the store has, and for new addresses of the others",
        responses={200: DirectUpload, **describe.problems(404, 409, 410, 429)},
    )
    def get(self, request: Request, upload_id: UUID) -> Response:
        """When the store has given the upload up (409 upload_lost), begin it again with the same name, size and SHA-256."""
        return self.told(direct.plan(self.upload(request, upload_id)), 200)


class DirectUploadComplete(DirectView):
    """The end of one upload."""

    needs: ClassVar = {"POST": access.SEND}

    @extend_schema(
        operation_id="completeDirectUpload",
        summary="Say that all parts have been sent",
        request=DirectCompletion,
        responses={202: DirectUpload, **describe.problems(400, 404, 409, 410, 411, 413, 415, 422, 429)},
    )
    def post(self, request: Request, upload_id: UUID) -> Response:
        """The bytes are read again, and are a file once size and SHA-256 are as announced; until then the batch lists them as verifying."""
        told = {part["number"]: part["etag"] for part in self.checked(request, DirectCompletion).get("parts", [])}
        return self.told(direct.complete(self.upload(request, upload_id), told), 202)
