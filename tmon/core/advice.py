"""What to do about a refusal, by its code: for the pages of people whose readings were refused."""

import re
from html import escape

from tmon.core.languages import gettext

ADVICE = {
    # A reading, while the others of its request were stored.
    "missing_value": "Send a number as `value`.",
    "invalid_value": "Send a number. A text, or no number at all, can't be stored.",
    "implausible_value": (
        "Look at the sensor and its wires: it reports what can't be measured. If the value is "
        "true, see whether its unit is right."
    ),
    "invalid_time": (
        "Send ISO 8601 with an offset, like 2026-11-22T12:00:00Z, or Unix milliseconds as "
        "`measured_ms`; or no time at all, which means now."
    ),
    "implausible_time": (
        "Set the node's clock (`timedatectl`), and see whether the time is in milliseconds."
    ),
    "repeated_untimed": "Give each reading its own time, or send them one by one.",
    "conflict": (
        "Two programs may send as the same node: give each a node and a key of its own. Or the "
        "clock's steps are longer than the interval."
    ),
    "pruned": "Nothing: its hour is stored, and was counted when the single readings were deleted.",
    "invalid_sensor": "Give the sensor a name of ASCII letters, digits and `_ . - : /`.",
    "invalid_unit": "Send a unit such as °C, %, hPa, lx or V, or none.",
    "unit_mismatch": (
        "Send the sensor's own unit or none. If another kind of sensor measures now, give it "
        "another name."
    ),
    "invalid_device": "Say which device each reading is from, by its maker's id.",
    "invalid_node": "Send the node's name as text, or leave it out: its key says which node it is.",
    "unknown_field": "Correct the field's name, or leave it out.",
    "repeated_field": "Send each field once.",
    "invalid_reading": 'Send each reading as a JSON object, like {"value": 21.5}.',
    "invalid_json": "Send one JSON object on each line.",
    "invalid_line": "Correct the line: name, tags, a blank, fields, a blank, and perhaps a time.",
    "too_many_sensors": (
        "See whether sensors' names hold what changes, such as a time or a counter. Else use "
        "several nodes."
    ),
    "name_taken": "Give the sensor another name, or rename the other: `tmon sensor rename`.",
    # A whole request; nothing of it was stored.
    "invalid_body": "Compare what was sent with an example of docs/connect.md or docs/api.md.",
    "forbidden": "Give each node its own key or token: `tmon key get NODE`. Or correct the name.",
    "method_not_allowed": "Use the method that docs/connect.md has for this address: often POST.",
    "too_large": "Send fewer readings in one request.",
    "unknown_encoding": "Send the body as it is, or with gzip. Pictures can't be stored.",
    "unauthorized": "Print the right key or token: `tmon key get NODE`, `tmon token get NODE`.",
    "revoked": "Make a new key or token: `tmon key rotate NODE`, `tmon token rotate NODE`.",
}
OTHER = "See docs/api.md."


def advice_html(code: str) -> str:
    """What to do about a refusal with this code, with commands as code."""
    advice = gettext(ADVICE.get(code, OTHER))
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(advice))
