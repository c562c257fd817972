"""An `Example:` of a docstring is shown as code on the site; the parser knows `Examples:` only."""

import re
from typing import Any

import griffe


class DocstringExamples(griffe.Extension):
    """A reader of the API that renames the section."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename the section in the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )
