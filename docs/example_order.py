"""In which order the gallery has the examples."""

import re

from sphinx_gallery.sorting import FileNameSortKey


class ByNumber(FileNameSortKey):
    """Sort by the number in the name, so that the tenth does not come first."""

    def __call__(self, filename: str) -> tuple[int, str]:
        """Return what the names are compared by."""
        found = re.search(r"\d+", filename)
        return (int(found.group()) if found else 0, filename)
