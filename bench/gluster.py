# SPDX-License-Identifier: Apache-2.0
"""GlusterFS replica 2 as a contender."""


def missing():
    """Why it cannot be compared with; None when it can."""
    return "not here"
