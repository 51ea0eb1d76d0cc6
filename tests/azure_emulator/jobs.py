"""Jobs."""


class Job:
    """A job."""

    def cancel(self) -> None:
        """End it."""
