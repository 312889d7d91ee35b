"""What neurodeploy says when something is wrong: findings, errors, and one page per code.

Every message names where (the layer or file), what (the rule), the number and its limit, and the way out.
Codes are stable; ``neurodeploy explain CODE`` prints the page behind a code.

====== ==============================================================
ND1xx  what was given cannot be read: names, recipes, files, shapes
ND2xx  the network does not fit or cannot be said on the target
ND3xx  something other than a binary spike would reach a synapse
ND4xx  a verification found a difference
ND5xx  an option or feature that is not built yet
ND9xx  our bug
====== ==============================================================
"""

from neurodeploy.diagnostics.errors import (
    InternalError,
    NeurodeployError,
    UnsupportedError,
    UsageError,
    VerificationError,
)
from neurodeploy.diagnostics.findings import Finding, first_error
from neurodeploy.diagnostics.pages import codes, page
from neurodeploy.diagnostics.suggest import nearest

__all__ = [
    "Finding",
    "InternalError",
    "NeurodeployError",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
    "codes",
    "first_error",
    "nearest",
    "page",
]
