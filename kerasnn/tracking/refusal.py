"""Which failures no retry can cure: what fails otherwise is tried again until it goes well."""

PERMANENT = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "MALFORMED_REQUEST")
"""MLflow's error codes that no retry can cure."""

LOCAL = (FileNotFoundError, TypeError, ValueError, KeyError)
"""Errors of what was to be recorded, such as a file that is gone."""


class Refused(Exception):
    """The store will never take this run, such as one under an experiment without a name."""


def is_permanent(error: Exception, local: bool = True) -> bool:
    """Whether no retry can cure an error.

    Args:
        error: what MLflow's client raised.
        local: whether `LOCAL` errors count too; a server in trouble may cause them as well, by an answer that is none.
    """
    return getattr(error, "error_code", None) in PERMANENT or (local and isinstance(error, LOCAL))
