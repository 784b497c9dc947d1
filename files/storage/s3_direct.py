"""The way of bytes straight to an S3 store: a multipart upload whose parts are sent to addresses that are signed for each of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.conf import settings

from files.storage.part import Keep
from files.storage.s3_errors import typed_s3
from files.storage.s3_part import Sent, begin, listed, object_size

if TYPE_CHECKING:
    from storages.backends.s3 import S3Storage

    from files.storage.s3 import S3


class S3Direct:
    """One upload whose bytes do not pass through Argus."""

    def __init__(self, store: S3, key: str) -> None:
        self.store, self.key = store, key

    def begin(self, keep: Keep) -> str:
        """A new multipart upload, kept before anything can be sent to it. Raises DiskFull, StorageUnavailable, and what `keep` raises."""
        return begin(self.store, self.key, keep)

    def stored(self, remote_id: str) -> list[Sent] | None:
        """The parts that are there, by their numbers; None when the store does not know the upload. Raises StorageUnavailable."""
        return listed(self.store, self.key, remote_id)

    def published(self) -> int | None:
        """How many bytes the object has; None when there is none. Raises StorageUnavailable."""
        return object_size(self.store, self.key)

    def address(self, remote_id: str, number: int, size: int) -> str:
        """Where that part can be sent with PUT, for ARGUS_S3_URL_SECONDS; other than `size` bytes the store refuses."""
        with typed_s3(self.key):
            return str(
                _signer(self.store.storage).generate_presigned_url(
                    "upload_part",
                    Params={
                        "Bucket": self.store.bucket,
                        "Key": self.store.root + self.key,
                        "UploadId": remote_id,
                        "PartNumber": number,
                        "ContentLength": size,
                    },
                    ExpiresIn=settings.ARGUS_S3_URL_SECONDS,
                )
            )


_making = threading.Lock()


def _signer(storage: S3Storage) -> Any:
    """A client that signs for the address that vehicles know; it never connects. One for all threads, as the store's own."""
    endpoint = settings.ARGUS_S3_PUBLIC_ENDPOINT or storage.endpoint_url
    with _making:
        kept: dict[str | None, Any] = vars(storage).setdefault("_argus_signers", {})
        if endpoint not in kept:
            kept[endpoint] = storage._create_session().client(
                "s3", region_name=storage.region_name, endpoint_url=endpoint, config=storage.client_config
            )
    return kept[endpoint]
