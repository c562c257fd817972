"""JSON files of a run as typed records, read with a message that names the file and the place.

A record is a frozen dataclass whose fields are the keys. Keys that this version does not know are
ignored. A field of type `IfKnown` is left out of the text where it is None.
"""

import json
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from fedcl.errors import RunError

RecordType = TypeVar("RecordType")
Record = TypeVar("Record")


def _is_none(value: object) -> bool:
    return value is None


IfKnown = Annotated[RecordType | None, Field(exclude_if=_is_none)]
"""A value or None; where it is None, the text has no such key."""


class JsonRecord(Generic[Record]):
    """Reads and writes the records of one type.

    Args:
        kind: Dataclass that the record is read into.
    """

    def __init__(self, kind: type[Record]) -> None:
        self._adapter = TypeAdapter(kind)

    def dump(self, record: Record) -> str:
        """Return a record as one line of JSON; NaN is refused, since JSON has none."""
        return json.dumps(self._adapter.dump_python(record), allow_nan=False) + "\n"

    def parse(self, text: bytes, *, source: str) -> Record:
        """Return the record that a JSON text holds.

        Args:
            text: One JSON object, UTF-8.
            source: What messages call the text, such as the file and the line.

        Raises:
            RunError: the text holds no such record.
        """
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            why = f"{place}: {first['msg']}" if place else first["msg"]
            raise RunError(f"{source}: damaged or of another version ({why})") from None

    def read(self, path: Path) -> Record | None:
        """Read a file that holds one record; None where there is no file.

        Raises:
            RunError: the file cannot be read, or holds no such record.
        """
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror or error})") from None
        return self.parse(text, source=str(path))
