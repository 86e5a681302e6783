"""An error's text is one line that ends with the fix; its status tells scripts whose fault it was."""

from __future__ import annotations

from xdplb.errors import ConfigError, DaemonError, KernelError, RefusedError


def test_config_error_is_key_problem_fix() -> None:
    error = ConfigError("service.web.vips", "there is none", "add one")

    assert str(error) == "service.web.vips: there is none; add one"
    assert error.key == "service.web.vips"


def test_statuses_tell_wrong_input_from_failed_work() -> None:
    assert (ConfigError.status, RefusedError.status) == (2, 2)
    assert (KernelError.status, DaemonError.status) == (1, 1)


def test_a_daemons_error_knows_the_status_of_its_answer() -> None:
    assert DaemonError("no", 403).http == 403
    assert DaemonError("is away").http is None
