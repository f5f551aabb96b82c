"""The ``webhooks`` key of the definitions file: endpoints that others send events to."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.spec_model import SpecModel
from schemas.vocabulary import VerifyScheme
from schemas.work import SecretRef, one_place

MOST_SECRETS: Final = 2
"""The one in use and its successor, while senders change over."""


class WebhookSpec(SpecModel):
    """An endpoint: how it knows its senders."""

    verify: VerifyScheme
    """What the sender proves itself by: standard-webhooks, github, stripe, slack, token, or none at all."""
    secrets: Annotated[tuple[Annotated[SecretRef, AfterValidator(one_place)], ...], Field(max_length=MOST_SECRETS)] = ()
    """Where the ingress finds the secret: {env: NAME} or {file: PATH}; two while it is being changed."""

    @model_validator(mode="after")
    def _secrets_fit(self) -> Self:
        if self.verify is VerifyScheme.NONE and self.secrets:
            raise ValueError("verify: none looks at no secrets; leave them out, or name a scheme")
        if self.verify is not VerifyScheme.NONE and not self.secrets:
            raise ValueError(f"verify: {self.verify} needs secrets: one, or two while it is being changed")
        return self
