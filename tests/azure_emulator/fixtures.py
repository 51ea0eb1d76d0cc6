"""The pytest fixture ``azure``; ``tests/conftest.py`` imports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.demand import missing

if TYPE_CHECKING:
    from .emulator import Azure

#: of the machine the tests run on; nobody is signed in but by the fixture
CLEARED = (
    "CURL_CA_BUNDLE",
    "ALL_PROXY",
    "all_proxy",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "AZURE_AUTHORITY_HOST",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_USERNAME",
    "AZURE_FEDERATED_TOKEN_FILE",
)


@pytest.fixture(scope="session")
def azure_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """Start the stand-in once; without what it needs the tests are skipped."""
    from .emulator import Azure, available

    if reason := available():
        missing(reason)
    azure = Azure(tmp_path_factory.mktemp("azure"))
    try:
        yield azure
    finally:
        azure.stop()


@pytest.fixture
def azure(azure_session: Azure, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Azure]:
    """Return the stand-in, empty, with the environment that leads the SDK to it; check all exchanges afterwards."""
    if "tmp_path" in request.node.fixturenames:
        request.getfixturevalue("tmp_path")  # before this fixture, so that it is there when this one ends
    azure_session.reset()
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    for name, value in azure_session.environment.items():
        monkeypatch.setenv(name, value)
    yield azure_session
    azure_session.offline = False
    azure_session.faults.clear()
    _check(azure_session, request)


def _check(azure: Azure, request: pytest.FixtureRequest) -> None:
    """Fail a test after which not all is as it must be."""
    from .checks import secrets_in, secrets_in_files, violations

    assert not azure.denied, f"hosts were asked that are not Azure's: {azure.denied}"
    assert not azure.broken, "\n".join(azure.broken)
    found = violations(list(azure.exchanges))
    assert not found, "not as Microsoft's schemas say:\n" + "\n".join(found)
    node = request.node
    shown = "\n".join(text for _, _, text in node._report_sections)  # stdout, stderr and log of the test so far
    assert not (told := secrets_in(shown, azure.secrets)), f"secrets were printed or logged: {told}"
    if "tmp_path" in node.fixturenames:
        written = secrets_in_files(request.getfixturevalue("tmp_path"), azure.secrets)
        assert not (left := [one for one in written if not one.split(":")[0].endswith("az-answer.json")]), left
