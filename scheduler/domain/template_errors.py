"""What may go wrong in a template."""


class TemplateError(ValueError):
    """A template is wrong or cannot be filled; the text is one plain sentence."""


class UndefinedError(TemplateError):
    """A lookup found nothing; ``default`` and ``is defined`` take it, everybody else passes it on."""
