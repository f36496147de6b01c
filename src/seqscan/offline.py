"""What the HTML pages share: templates, and the means to hold all they need in one file."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files

__all__ = ["content_policy", "script_json", "script_of", "template"]


def template(name: str) -> str:
    """Return the text of a file in `templates/`."""
    return files("seqscan").joinpath("templates", name).read_text(encoding="utf-8")


def script_of(name: str) -> str:
    """Return the script of a page: what all pages share, then a file in `templates/`."""
    return template("page.js") + template(name)


def content_policy(style: str, script: str) -> str:
    """Return the policy of a page that asks the network for nothing and runs this style and script alone."""
    return (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def script_json(value: object) -> str:
    """Return JSON that cannot end the script element it stands in.

    Examples
    --------
    >>> script_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
