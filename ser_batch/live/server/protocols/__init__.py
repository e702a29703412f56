"""One module for each protocol of telephone systems: messages in, audio out."""

from typing import Annotated

import msgspec

CallId = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[\w.@:+-]+\Z")]
"""What a call may be called: in rows, in addresses, and on a terminal."""
