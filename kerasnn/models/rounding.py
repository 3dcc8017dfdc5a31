"""How a width that was multiplied becomes a number of filters again."""


def round_filters(filters: float) -> int:
    """The nearest multiple of 8, at least 8, and never more than a tenth below `filters`.

    Sandler 2018 and Tan 2019 round like this in their published code (`make_divisible`, `round_filters`).

    Example:
        >>> round_filters(32 * 0.35)      # 11.2: 8 would be more than a tenth below
        16
    """
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded
