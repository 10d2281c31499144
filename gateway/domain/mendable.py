"""What the operator can mend, told in plain lines by whoever meets it: the command line ends with it and status 1."""

from __future__ import annotations


class Mendable(Exception):
    """The root of errors about the machine and its configuration; each text names the cause and the way out."""
