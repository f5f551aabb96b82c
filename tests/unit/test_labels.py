"""Labels as text, in settings, definitions and rows."""

import pytest

from scheduler.config import load_settings
from scheduler.errors import ConfigurationError
from schemas.definitions_file import PoolSpec
from schemas.labels import label_texts, read_labels


def test_labels_are_written_sorted_and_read_back() -> None:
    labels = {"zone": "b-1", "gpu": "a100", "example.com/rack": "7"}

    assert ["example.com/rack=7", "gpu=a100", "zone=b-1"] == label_texts(labels)
    assert labels == read_labels(label_texts(labels))


@pytest.mark.parametrize("text", ["gpu", "=a", "gpu=", "gpu=a b", "-x=1", "gpu=a,b=c"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write key=value"):
        read_labels([text])


def test_a_key_has_one_value() -> None:
    with pytest.raises(ValueError, match="label gpu is given twice"):
        read_labels(["gpu=a", "gpu=b"])


def test_numbers_and_truth_stand_for_their_text() -> None:
    assert {"gpus": "2", "ssd": "true"} == PoolSpec.model_validate({"labels": {"gpus": 2, "ssd": True}}).labels


def test_the_setting_takes_a_list_and_a_text() -> None:
    settings = load_settings({"labels": ["gpu=a100"]}, {}).settings
    assert {"gpu": "a100"} == settings.labels
    settings = load_settings({}, {"SCHEDULER_LABELS": "gpu=a100, zone=b"}).settings
    assert {"gpu": "a100", "zone": "b"} == settings.labels
    with pytest.raises(ConfigurationError, match=r"labels .from SCHEDULER_LABELS.: 'gpu' is no label"):
        load_settings({}, {"SCHEDULER_LABELS": "gpu"})
