"""How the sending of one e-mail or one SMS fails: a closed set, shared by both ports."""

from typing import Literal

DeliveryCode = Literal[
    "invalid",  # the message cannot be sent by anyone: a bad address, a line break in a header
    "refused",  # the other side understood and said no
    "credentials",  # the other side does not accept who we are
    "throttled",  # too much at once, there or here; `retry_after` may say how long to wait
    "timeout",  # no answer in time; the message may have been sent all the same
    "unreachable",  # no connection, or one that broke
    "tls",  # no trustworthy encryption where it is asked for
    "protocol",  # an answer that makes no sense
]


class DeliveryFailed(Exception):
    """One message was not handed over, as far as we know.

    `permanent`: the same message will fail again, so do not retry it. `reason` is for logs and
    operators: it names codes and hosts, never the recipient, the text or a secret. `retry_after`
    is in seconds and set only where the other side asked for a pause.
    """

    def __init__(
        self,
        permanent: bool,
        reason: str,
        *,
        code: DeliveryCode = "refused",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.reason = reason
        self.code: DeliveryCode = code
        self.retry_after = retry_after
