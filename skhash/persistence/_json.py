"""Read JSON that a stranger may have written: no duplicate keys, no NaN, no numbers or nesting without bound."""

import json
import math

from ._errors import FileFormatError

# JSON that takes more bytes, or has more values, than any fitted estimator needs.
MAX_JSON_BYTES = 2**26
MAX_JSON_VALUES = 2**21
_MAX_INTEGER_DIGITS = 20


def dump_json(value):
    """Write JSON with sorted keys and no spaces.

    Parameters
    ----------
    value : object
        Made of dict, list, str, int, float, bool and None.

    Returns
    -------
    data : bytes
        ASCII.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode("ascii")


def parse_json(data, *, what):
    """Parse one JSON object.

    Parameters
    ----------
    data : bytes
        UTF-8.

    what : str
        File and part, for messages.

    Returns
    -------
    value : dict
        The object.

    Raises
    ------
    FileFormatError
        If it is no such object, or exceeds a limit.
    """
    n_values = sum(data.count(sign) for sign in (b",", b"[", b"{"))
    if n_values > MAX_JSON_VALUES:
        raise FileFormatError(f"{what} has up to {n_values} values, more than the limit of {MAX_JSON_VALUES}.")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except RecursionError:
        raise FileFormatError(f"{what} is nested too deeply.") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise FileFormatError(f"{what} is no valid JSON ({reason[:200]}).") from None
    if not isinstance(value, dict):
        raise FileFormatError(f"{what} is no JSON object but a {type(value).__name__}.")
    return value


def _object(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _integer(digits):
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits, more than the limit of {_MAX_INTEGER_DIGITS}")
    return int(digits)


def _float(digits):
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number overflows")
    return value


def _constant(token):
    raise ValueError(f"{token} is no JSON")


def shown(value):
    """Show what a file says in few printable characters.

    Parameters
    ----------
    value : object
        From a file.

    Returns
    -------
    text : str
        At most 80 ASCII characters.
    """
    # Arrays are written in several lines.
    text = " ".join(ascii(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
