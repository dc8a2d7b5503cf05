"""What every test shares: a fixed environment, no windows, and the command line in process."""

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

# Set before torch is imported, here and in subprocesses: sums have one order on every machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

if TYPE_CHECKING:
    from ccr_diag.backbone import Backbone

settings.register_profile("repeatable", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that only short ones are left when there is nothing more to share."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """No figure outlives its test."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture
def ccr() -> Callable[..., Result]:
    """``ccr("analyze", "checkpoint", path)`` runs ``ccr-diag analyze checkpoint path``."""
    from ccr_diag.cli.main import cli

    def run(*args: object) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="ccr-diag")

    return run


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The feature cache of the test run, not the user's; all workers share it."""
    root = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            root = root.parent
        patch.setenv("CCR_DIAG_CACHE", str(root / "cache"))
        yield


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a random CLIP."""
    from tiny import write_tiny_clip

    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def tiny_backbone(tiny_clip: str) -> "Backbone":
    """The random CLIP, loaded."""
    from ccr_diag.backbone import load_backbone

    return load_backbone(tiny_clip, device="cpu")


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a data set of drawn images."""
    from tiny import write_drawn_images

    return write_drawn_images(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def biased_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a random CLIP with a logit bias that makes every class likely."""
    from tiny import write_biased_clip

    return write_biased_clip(tmp_path_factory.mktemp("biased"), bias=8.0)


@pytest.fixture(scope="session")
def shared_results() -> dict[str, Any]:
    """A made-up results file; not to be changed."""
    from made_results import fake_results

    return fake_results()


@pytest.fixture(scope="session")
def pickled_results(shared_results: dict[str, Any]) -> bytes:
    """The made-up results file, to be copied many times faster than by ``deepcopy``."""
    return pickle.dumps(shared_results)


@pytest.fixture
def results(pickled_results: bytes) -> dict[str, Any]:
    """A made-up results file of one's own."""
    copied: dict[str, Any] = pickle.loads(pickled_results)
    return copied
