"""What bodies of requests may say: nothing but their keys, each of its own type."""

from pydantic import BaseModel, ConfigDict


class Want(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_by_name=False,
        validate_by_alias=True,
    )
