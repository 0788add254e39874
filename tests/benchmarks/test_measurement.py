from benchmarks.measurement import Series, alternate


def test_cases_take_turns_and_every_other_turn_goes_backwards() -> None:
    called: list[str] = []

    def case(name: str) -> float:
        called.append(name)
        return float(len(called))

    series = alternate({"a": lambda: case("a"), "b": lambda: case("b")}, repetitions=3, warm_ups=1)

    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert series["a"].values == (3.0, 6.0, 7.0)
    assert series["b"].values == (4.0, 5.0, 8.0)


def test_a_series_knows_its_median_and_its_spread() -> None:
    series = Series((3.0, 1.0, 2.0, 100.0))
    assert (series.low, series.median, series.high) == (1.0, 2.5, 100.0)
