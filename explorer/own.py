"""The former names of `explorer.choices.visitor_files`, for scripts that know it by these."""

from explorer.choices.sources import source as own
from explorer.choices.visitor_files import VisitorFiles, file_name

__all__ = ["Shelf", "file_name", "own"]


class Shelf(VisitorFiles):
    """A visitor's files, with the former names of the methods."""

    put = VisitorFiles.add
    take_off = VisitorFiles.hide
    drop = VisitorFiles.delete
