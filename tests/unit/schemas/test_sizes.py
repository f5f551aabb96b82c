"""Sizes and shares of the CPU as a user writes them."""

import pytest

from schemas.job_spec import ResourcesSpec
from schemas.sizes import MAX_SIZE, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size", "canonical"),
    [
        ("512MiB", 512 * 1024**2, "512MiB"),
        ("2 GB", 2_000_000_000, "1953125KiB"),
        ("1024KiB", 1024**2, "1MiB"),
        ("1500B", 1500, "1500B"),
        ("1024TiB", MAX_SIZE, "1024TiB"),
    ],
)
def test_a_size_is_read_and_written_in_its_one_form(text, size, canonical):
    assert parse_size(text) == size
    assert format_size(size) == canonical
    assert parse_size(canonical) == size


@pytest.mark.parametrize("text", ["", "512", "1.5GiB", "-1MiB", "1 mib", "1025TiB", "1MiB\n"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r"no size|more than"):
        parse_size(text)


@pytest.mark.parametrize(("written", "cores"), [("50%", 0.5), ("250%", 2.5), ("1.5", 1.5), (2, 2.0), (0.25, 0.25)])
def test_cpu_is_a_share_or_a_number_of_cores(written, cores):
    assert ResourcesSpec(cpu=written).cpu == cores


@pytest.mark.parametrize("written", ["half", "-1%", "5000", 0, True, float("nan"), 5000])
def test_what_is_no_cpu_is_refused(written):
    with pytest.raises(ValueError, match="cpu"):
        ResourcesSpec(cpu=written)
