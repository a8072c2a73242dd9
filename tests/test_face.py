"""The public names: whoever catches what the framework raises, or asks what it answers, imports from `understudy` alone."""

import understudy
from understudy.actors import errors


def test_every_public_name_is_there_once() -> None:
    assert all(hasattr(understudy, name) for name in understudy.__all__)
    assert len(set(understudy.__all__)) == len(understudy.__all__)


def test_every_error_of_the_kernel_and_of_a_nodes_start_is_public() -> None:
    kernel = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert kernel | {"BadAddress", "CannotListen", "CannotReach", "TableError"} <= set(understudy.__all__)
