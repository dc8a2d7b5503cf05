"""The hub of weights: whether it answers, and no long wait where it does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from threading import Thread
from time import monotonic

from huggingface_hub import constants, get_session

PATIENCE = 2.0  # seconds that the hub has to answer
BEFORE_FETCHING = 5.0  # the same where weights depend on it


class Question:
    """Asks the hub for a sign of life, beside whatever else is done meanwhile.

    A name that cannot be looked up may take far longer than any time limit of a connection, so the
    asking is left to a thread, and nobody waits for longer than ``patience`` from its start on.

    Args:
        address: of the hub.
        patience: seconds.
    """

    def __init__(self, address: str, patience: float = PATIENCE) -> None:
        self._address = address
        self._patience = patience
        self._silence = f"no answer in {patience:g} s"
        self._refusal = ""
        self._thread = Thread(target=self._ask, daemon=True)
        self._until = monotonic() + patience
        if constants.HF_HUB_OFFLINE:
            self._silence = "HF_HUB_OFFLINE is set"
        else:
            self._thread.start()

    def silence(self) -> str:
        """Why no word came of the hub; nothing if one did, if only that it refuses."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, self._until - monotonic()))
        return self._silence

    def answer(self) -> str:
        """Why the hub cannot be reached; nothing if it can."""
        return self.silence() or self._refusal

    def _ask(self) -> None:
        try:
            response = get_session().head(self._address, timeout=self._patience)
        except Exception as error:  # of sockets, of HTTP, of an address that is none
            self._silence = " ".join(str(error).split()) or type(error).__name__
            return
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            self._refusal = f"HTTP status {response.status_code}"
        self._silence = ""


@contextmanager
def without_waiting() -> Iterator[str]:
    """While open, a silent hub counts as offline, as each file is asked for half a minute else.

    Yields:
        Why the hub is silent; nothing if it is not.
    """
    silence = Question(constants.ENDPOINT, BEFORE_FETCHING).silence()
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, bool(silence)
    try:
        yield silence
    finally:
        constants.HF_HUB_OFFLINE = before
