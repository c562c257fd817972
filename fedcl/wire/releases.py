"""What leaves a site, as Flower records and back."""

from flwr.app import RecordDict

from fedcl.messages.releases import Release, pack_release, unpack_release
from fedcl.wire.records import packet_in, record_of


def encode_release(release: Release) -> RecordDict:
    """Return the record of a release.

    Raises:
        TypeError: the object is not a release.
        ValueError: it says something else than its kind allows.
    """
    return record_of(pack_release(release))


def decode_release(record: RecordDict) -> Release:
    """Read a release.

    Raises:
        WireError: what is missing or malformed.
    """
    return unpack_release(packet_in(record))
