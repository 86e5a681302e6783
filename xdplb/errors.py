"""The exceptions that a user may cause or meet; everything else is a bug and crashes loudly."""

from __future__ import annotations


class XdplbError(Exception):
    """Something that the person at the keyboard can mend; its text says what and how, in one line.

    `status` is the exit status of a command that ends with it: 2 when what was given is wrong and nothing was
    changed, 1 when it was right and could not be done.
    """

    status = 1


class ConfigError(XdplbError):
    """The configuration, or an argument that changes it, is wrong: key path first, then the fix."""

    status = 2

    def __init__(self, key: str, problem: str, fix: str = "") -> None:
        self.key, self.problem, self.fix = key, problem, fix
        super().__init__(f"{key}: {problem}" + (f"; {fix}" if fix else ""))


class MissingError(ConfigError):
    """What a change or a question names is not there."""


class ConflictError(ConfigError):
    """What was given is right by itself, but cannot be beside what there is."""


class KernelError(XdplbError):
    """The kernel refused: what was asked, of which map or device, and what to run."""


class RefusedError(XdplbError):
    """The start was refused because of what is there already; nothing was changed."""

    status = 2


class DaemonError(XdplbError):
    """The daemon cannot be reached, could not do it, or another one is in the way.

    `http` is the status of its answer, where it gave one: 403 for what one's role may not do, 404 for what it has not.
    """

    def __init__(self, text: str, http: int | None = None) -> None:
        self.http = http
        super().__init__(text)


class NoDaemonError(DaemonError):
    """Nobody listens on the daemon's socket."""
