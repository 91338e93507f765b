"""Expected errors; those that a sender is answered have an HTTP status and a code."""


class TmonError(Exception):
    """An error whose message is one sentence for a person or a node."""


class ApiError(TmonError):
    """An answer to a sender: a status, a code, and when to try again."""

    status = 400
    code = "bad_request"
    retry_after_s: int | None = None


class InvalidBody(ApiError):
    """The body can't be parsed; a retry would fail as well."""

    code = "invalid_body"


class Unauthorized(ApiError):
    """There is no token, or it isn't valid."""

    status = 401
    code = "unauthorized"


class Forbidden(ApiError):
    """The token is genuine, but is revoked or of another node."""

    status = 403
    code = "forbidden"


class Revoked(Forbidden):
    """The node's token was revoked."""

    code = "revoked"


class UnknownMethod(ApiError):
    """A method that this path doesn't have."""

    status = 405
    code = "method_not_allowed"


class TooLarge(ApiError):
    """The request is too large; the node should split it."""

    status = 413
    code = "too_large"


class UnknownEncoding(ApiError):
    """A Content-Encoding that isn't gzip."""

    status = 415
    code = "unknown_encoding"


class TooFast(ApiError):
    """The node is over ``TMON_RATE``; nothing was stored."""

    status = 429
    code = "too_fast"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(ApiError):
    """The writer is behind; nothing was stored, and the node should retry."""

    status = 503
    code = "overloaded"
    retry_after_s = 5


class Unavailable(ApiError):
    """The database can't be written; nothing was stored, and the node should retry."""

    status = 503
    code = "unavailable"
    retry_after_s = 5


class DiskFull(Unavailable):
    """The disk has no space for another reading; ends by itself once it has."""

    code = "disk_full"
    retry_after_s = 60


class Damaged(Unavailable):
    """The database file is damaged; a person has to restore it."""

    code = "damaged"
    retry_after_s = 300


class Locked(Unavailable):
    """Another program holds the database's write lock."""

    code = "locked"


class ClockDiffers(ApiError):
    """Readings are ahead of our clock, but not of their sender's; or ours was never set.

    Nothing was stored; the node should keep them until both clocks agree.
    """

    status = 503
    code = "clock_differs"
    retry_after_s = 300


class UnknownNode(TmonError):
    """There is no node of that name."""


class UnknownKey(TmonError):
    """The node has no key."""


class UnknownSensor(TmonError):
    """The node has no sensor of that name."""


class InvalidName(TmonError):
    """A node's or a sensor's name that the grammar doesn't allow."""


class OutOfRange(TmonError):
    """What can't be about a node, like a latitude of 91, or a zone that isn't known."""


class CannotImport(TmonError):
    """The file can't be read as the flags say, or the database can't be written."""

    code = "cannot_import"


class CannotServe(TmonError):
    """A process can't be started, or ended unexpectedly."""


class Replaced(TmonError):
    """The database file was removed or replaced: further writes would be lost."""


class Overwritten(Replaced):
    """Another file's contents were copied over the database."""


class LogReplaced(Replaced):
    """The -wal or -shm file was removed or replaced: the next start wouldn't find its contents."""


class LogCut(Replaced):
    """The -wal file was truncated: its contents are lost."""


class RefusedDatabase(TmonError):
    """The file can't be used as a tmon database; the message says why and what to do."""
