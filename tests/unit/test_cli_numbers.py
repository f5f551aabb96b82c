import pytest

from scheduler.cli.following import number_text, progress_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3.0, "3"),
        (4018176.0, "4018176"),
        (-2.0, "-2"),
        (0.25, "0.25"),
        (1234567.5, "1234567.5"),
        (1e300, "1e+300"),
        (-1e300, "-1e+300"),
    ],
)
def test_a_number_of_a_job_is_shown_whole_where_it_is_whole(number: float, text: str) -> None:
    assert number_text(number) == text


def test_progress_is_told_as_a_part_of_the_whole() -> None:
    assert progress_text({"done": 3.0, "total": 8.0, "message": "copying"}) == "3 of 8 (38 %) copying"
    assert progress_text({"done": 2.5, "total": None, "message": ""}) == "2.5"
