"""The former name of `explorer.choices.visitor_files`, for scripts that know it by this one."""

from explorer.choices.visitor_files import Shelf, file_name, own

__all__ = ["Shelf", "file_name", "own"]
