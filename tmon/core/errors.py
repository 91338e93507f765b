"""Deliberate errors: each knows its HTTP status and its code."""


class TmonError(Exception):
    """Something a person or a node must hear about, in one sentence."""


class ApiError(TmonError):
    """What a sender is answered: a status, a code, and whether to try again."""

    status = 400
    code = "bad_request"
    retry_after_s: int | None = None


class InvalidBody(ApiError):
    """The body can't be parsed at all; sent again it fails again."""

    code = "invalid_body"


class Unauthorized(ApiError):
    """No token, or none that is valid now."""

    status = 401
    code = "unauthorized"


class Forbidden(ApiError):
    """The token is genuine and may not do this: revoked, or it names another node."""

    status = 403
    code = "forbidden"


class Revoked(Forbidden):
    """The node's token was revoked."""

    code = "revoked"


class TooLarge(ApiError):
    """More than one request may hold; the node should split it."""

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
    """The database can't be written now; nothing was stored, and the node should retry."""

    status = 503
    code = "unavailable"
    retry_after_s = 5


class DiskFull(Unavailable):
    """No space for another reading; heals by itself once there is."""

    code = "disk_full"
    retry_after_s = 60


class Damaged(Unavailable):
    """The database file is damaged; only a person can mend that."""

    code = "damaged"
    retry_after_s = 300


class Locked(Unavailable):
    """Another program holds the database's write lock."""

    code = "locked"


class ClockDiffers(ApiError):
    """Readings ahead of our clock, but not of their sender's, or our clock was never set.

    Nothing was stored; the node should keep them until both agree.
    """

    status = 503
    code = "clock_differs"
    retry_after_s = 300


class UnknownNode(TmonError):
    """No node has that name."""


class UnknownSensor(TmonError):
    """A node has no sensor of that name."""


class InvalidName(TmonError):
    """A node's or a sensor's name that the grammar doesn't allow."""


class OutOfRange(TmonError):
    """A number about a node that can't be, like a latitude of 91."""


class CannotImport(TmonError):
    """The file isn't what was said of it, or the database takes no more; says which."""

    code = "cannot_import"


class CannotServe(TmonError):
    """A process can't be started, or stopped by itself."""


class Replaced(TmonError):
    """The database's file was removed or replaced: what is written now would be lost."""


class Overwritten(Replaced):
    """Another file's contents were copied over the database."""


class LogReplaced(Replaced):
    """The log's file, or its index, was removed or replaced: a next start wouldn't find it."""


class LogCut(Replaced):
    """The log's file was cut short: what it had is gone."""


class RefusedDatabase(Exception):
    """The file can't be used as a tmon database; the message says why and what to do."""
