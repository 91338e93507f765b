"""What one sender may take of the server: bytes, and time."""

BODY_BYTES = 1024 * 1024  # as sent
DECOMPRESSED_BYTES = 8 * 1024 * 1024
GZIP_MEMBERS = 100  # each is searched for in a copy of what follows the one before
BODY_S = 30.0
UNREAD_BYTES = 64 * 1024  # of a body that the app hasn't read; then we stop reading the socket
DRAIN_BYTES = 16 * BODY_BYTES  # read after an early answer; a reset would discard that answer
PARSE_INLINE_BYTES = 16 * 1024  # at worst 20 ms of invalid readings; 100 readings take 10 kB
PARSE_QUEUE_BYTES = 64 * 1024 * 1024
HEADER_BYTES = 16 * 1024
HEADER_S = 10.0
PIPELINED = 16  # requests that are parsed ahead; the rest waits as bytes
SEND_S = 30.0  # a reader of 5 KB/s opens its window every 26 s on loopback
SEND_BYTES_PER_S = 2048  # slower than GPRS; a slower average is cut off
SEND_AHEAD_S = 900.0  # a proxy takes megabytes ahead, then nothing for minutes
LINGER_S = 2.0  # after an error answer, for its reader to get it before we close
