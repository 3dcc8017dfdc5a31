from kerasnn.models.rounding import round_filters


def test_filters_are_the_nearest_multiple_of_8_and_never_a_tenth_below():
    # 24 × 0.75 = 18 is nearest to 16, a ninth below 18: more than a tenth, so 24. 32 × 1.4 = 44.8 is nearest to 48.
    # 96 × 0.35 = 33.6 is nearest to 32, a twentieth below. 3 is nearest to 0, but 8 is the least.
    assert [round_filters(filters) for filters in (24 * 0.75, 32 * 1.4, 96 * 0.35, 3)] == [24, 48, 32, 8]
