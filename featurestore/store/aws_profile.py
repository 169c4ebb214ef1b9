"""What the configuration file of the AWS tools says of a profile, beyond credentials, which pyarrow reads itself."""

from __future__ import annotations

import configparser
import os
from pathlib import Path


def profile_setting(name: str) -> str | None:
    """Return a setting of the profile in use (``region``, ``endpoint_url``, ``ca_bundle``); None if it has none.

    The file is that of ``AWS_CONFIG_FILE``, by default ``~/.aws/config``; the profile is that of ``AWS_PROFILE``. A
    file that cannot be read says nothing.
    """
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    path = Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config")
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        parser.read_string(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError, configparser.Error):  # RuntimeError: there is no home
        return None
    section = profile if profile == "default" else f"profile {profile}"
    found = parser.get(section, name, fallback="").strip()
    return found or None
