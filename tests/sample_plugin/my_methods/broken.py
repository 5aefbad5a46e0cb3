"""A module that cannot be imported, as an out-of-date plugin would be."""

import a_library_that_is_not_there  # noqa: F401
