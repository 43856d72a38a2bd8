from collections.abc import Iterator

import pytest

from tests.support.playground import Playground, running_playground


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Playground]:
    with running_playground(tmp_path_factory.mktemp("playground"), miners=6) as playground:
        yield playground
