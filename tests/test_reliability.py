from typing import Any

import numpy as np
import pytest

from model.reliability import DiceRange, Reliability, covered, reliability, unseen_cases
from utils.labels import Region

USUAL = 0.5  # in doubt by this and the half that is added to it: by 1


def case(
    predicted_ml: float, reference_ml: float, dice: float, spread: float = USUAL
) -> dict[str, Any]:
    scores = {
        "predicted_ml": predicted_ml,
        "reference_ml": reference_ml,
        "dice": dice,
        "spread": spread,
    }
    return {"regions": {region.name: scores for region in Region}}


def test_nine_patients_give_nine_of_ten_by_their_largest_error() -> None:
    cases = [case(9, 9, 0.9) for _ in range(8)] + [case(9, 19, 0.6)]
    found = reliability(cases)
    assert (found.cases, found.coverage) == (9, 0.9)
    # the worst patient: (19 + 1) / (9 + 1) = 2; so (29 + 1) / 2 - 1 and (29 + 1) * 2 - 1
    assert found.volume_interval_ml(Region.ET, 29, USUAL) == pytest.approx((14, 59))
    assert found.expected_dice(Region.WT, USUAL) == DiceRange(0.9, 0.6, 0.9)


def test_each_region_has_its_own_errors() -> None:
    scores = {
        region.name: {
            "predicted_ml": 9,
            "reference_ml": 10 * times - 1,
            "dice": 1 / times,
            "spread": USUAL,
        }
        for region, times in zip(Region, (2, 3, 4), strict=True)
    }
    found = reliability([{"regions": scores}] * 9)
    # of 11 + 1 mL a half, a third and a quarter, and 2, 3 and 4 times as much, less 1 mL each
    assert [found.volume_interval_ml(region, 11, USUAL) for region in Region] == [
        pytest.approx(interval) for interval in ((5, 23), (3, 35), (2, 47))
    ]
    medians = [found.expected_dice(region, USUAL).median for region in Region]
    assert medians == pytest.approx([1 / 2, 1 / 3, 1 / 4])


def test_too_small_counts_like_too_large() -> None:
    over, under = (reliability([case(*pair, 0.5)] * 9) for pair in ((9, 19), (19, 9)))
    assert over.volume_interval_ml(Region.TC, 5, USUAL) == under.volume_interval_ml(
        Region.TC, 5, USUAL
    )


def test_few_patients_promise_less() -> None:
    assert reliability([case(1, 1, 1)] * 4).coverage == pytest.approx(0.8)


def test_with_many_patients_the_worst_do_not_count() -> None:
    # of 19 errors the ceil(20 * 0.9) = 18th smallest counts
    found = reliability([case(9, 9, 0.9)] * 17 + [case(9, 19, 0.5), case(9, 99, 0.1)])
    assert found.volume_interval_ml(Region.WT, 9, USUAL) == pytest.approx((4, 19))
    assert found.expected_dice(Region.WT, USUAL).low == 0.5


def test_who_watched_one_fold_and_tested_another_counts_once() -> None:
    watched, tested = case(9, 9, 0.9), case(9, 19, 0.5)
    metrics = {"cases": {"a": tested, "b": tested}, "validation": {"a": watched, "c": watched}}
    assert reliability(unseen_cases(metrics)).dice_errors[Region.WT] == pytest.approx(
        [0.1, 0.5, 0.5]
    )


def test_who_is_doubted_gets_a_wider_interval_and_less_dice() -> None:
    # (19 + 1) / (9 + 1) = 2 if the doubt is 1; if it is 2, twice 2 and twice the missing Dice
    found = reliability([case(9, 19, 0.8)] * 9)
    assert found.volume_interval_ml(Region.TC, 39, 1.5) == pytest.approx((9, 159))
    assert found.expected_dice(Region.TC, 1.5) == pytest.approx((0.6, 0.6, 0.6))
    # whose error was made in much doubt promises more to others
    found = reliability([case(9, 19, 0.8, 1.5)] * 9)
    assert found.volume_interval_ml(Region.TC, 39, 1.5) == pytest.approx((19, 79))
    assert found.expected_dice(Region.TC, USUAL).median == pytest.approx(0.9)
    assert found.expected_dice(Region.TC, 99) == (0, 0, 0)


def test_no_region_may_be_larger_than_the_one_around_it() -> None:
    # off by 2 where the doubt is 1, and by 8 where it is 3, as of the core
    found = reliability([case(9, 19, 0.8)] * 9)
    volumes_ml = dict(zip(Region, (19, 9, 7), strict=True))
    spreads = dict(zip(Region, (USUAL, 2.5, USUAL), strict=True))
    intervals_ml = found.volume_intervals_ml(volumes_ml, spreads)
    assert intervals_ml[Region.WT] == pytest.approx((9, 39))
    assert intervals_ml[Region.TC] == pytest.approx((0.25, 39))  # not 79
    assert intervals_ml[Region.ET] == pytest.approx((3, 15))


def test_how_many_lie_within_is_told_by_the_errors_of_the_others() -> None:
    cases = [case(9, 9, 0.9)] * 9 + [case(9, 19, 0.5)]
    # nine others promise at most their largest error: none, to the tenth who has one
    assert covered(cases) == dict.fromkeys(Region, 9)
    assert covered([case(9, 19, 0.5)] * 10) == dict.fromkeys(Region, 10)


def test_a_volume_is_never_negative() -> None:
    low, high = reliability([case(0, 9, 0)] * 9).volume_interval_ml(Region.ET, 0, USUAL)
    assert low == 0
    assert high == pytest.approx(9)


def test_the_promised_share_of_new_patients_lies_within() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        truth = np.exp(rng.normal(3, 1, 10))
        predicted = truth * np.exp(rng.normal(0, 0.3, 10))
        known = [case(p, t, 0.5) for p, t in zip(predicted[1:], truth[1:], strict=True)]
        low, high = reliability(known).volume_interval_ml(Region.WT, predicted[0], USUAL)
        inside.append(low <= truth[0] <= high)
    assert 0.86 <= np.mean(inside) <= 0.95


def test_it_is_a_plain_value() -> None:
    nothing = {region: [0.0] for region in Region}
    assert reliability([case(1, 1, 1)]) == Reliability(nothing, nothing)
