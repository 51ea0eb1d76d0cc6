"""What Azure's packages would write into the notebook or into a log, and must not."""

from __future__ import annotations

import logging

from .translate import redacted

NOISY = ("azure.ai.ml", "azure.ai.ml._arm_deployments.arm_deployment_executor", "azure.identity", "azure.core")
TELLS_ADDRESSES = "urllib3.connectionpool"  # the signature of a datastore is part of its address


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without what is secret in it."""
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


_redacting = _Redacting()


def quiet() -> None:
    """Keep the SDK's own talk out of the notebook; its import installs handlers, so call this after it."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


def without_signatures() -> None:
    """Keep signatures out of the log of whoever logs everything; doing it again changes nothing."""
    logging.getLogger(TELLS_ADDRESSES).addFilter(_redacting)
