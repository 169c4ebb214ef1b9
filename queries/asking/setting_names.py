"""Names of the settings in texts, and shorter ones where there is little room."""

from __future__ import annotations

from featurestore.store.schema import SETTINGS

_SHORT = {"fixed": "fixed", "finetuned": "fine-tuned", "scratch": "scratch"}


def setting_in_words(setting: str) -> str:
    """Return the name of a setting in a text; an unknown one as it is."""
    return SETTINGS.get(setting, setting)


def short_setting(setting: str) -> str:
    """Return one word for a setting; an unknown one as it is."""
    return _SHORT.get(setting, setting)


def setting_as_title(setting: str) -> str:
    """Return the name of a setting with a capital at its beginning."""
    words = setting_in_words(setting)
    return words[:1].upper() + words[1:]
