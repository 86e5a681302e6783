"""Several checks, several VIPs, an agent: one health."""

from __future__ import annotations

import pytest

from xdplb.desired import Health
from xdplb.health.check import Result, Said
from xdplb.health.combine import combine

PASS, NONE = Result(True, "connected"), Result(None, "not probed yet")
FAIL, WRONG = Result(False, "refused"), Result(False, "status 500")


@pytest.mark.parametrize(
    ("results", "needed", "up", "cause"),
    [
        ([PASS], 0, True, "connected"),
        ([FAIL], 0, False, "refused"),
        ([NONE], 0, None, "not probed yet"),
        ([PASS, PASS], 0, True, "all 2 checks pass"),
        ([PASS, FAIL, WRONG], 0, False, "refused"),
        ([NONE, FAIL], 0, False, "refused"),
        ([PASS, NONE], 0, None, "1 of 2 checks pass, 2 needed; the others have no result yet"),
        ([PASS, FAIL, PASS], 2, True, "2 of 3 checks pass, 2 needed; refused"),
        ([PASS, FAIL, WRONG], 2, False, "1 of 3 checks pass, 2 needed; refused"),
        ([PASS, FAIL, NONE], 2, None, "1 of 3 checks pass, 2 needed; refused"),
        ([PASS, NONE, NONE], 1, True, "1 of 3 checks pass, 1 needed; the others have no result yet"),
        ([WRONG, FAIL], 1, False, "0 of 2 checks pass, 1 needed; status 500"),
        ([WRONG, NONE], 1, None, "0 of 2 checks pass, 1 needed; status 500"),
    ],
)
def test_so_many_checks_must_pass_and_the_cause_says_which_one_decides(
    results: list[Result], needed: int, up: bool | None, cause: str
) -> None:
    assert combine([[result] for result in results], needed) == Health(up, cause)


def test_a_check_passes_when_it_does_at_all_its_vips() -> None:
    assert combine([[PASS, Result(False, "no route"), NONE]]) == Health(False, "no route")
    assert combine([[PASS, NONE]]).up is None
    assert combine([[PASS, PASS]]).up is True
    assert combine([[PASS, FAIL], [PASS, PASS]], needed=1).up is True


def test_warnings_are_joined_and_said_once() -> None:
    soon, other = Result(True, "", "ends in 3 days"), Result(True, "", "slow")
    assert combine([[soon, soon], [other]]).warning == "ends in 3 days; slow"


def test_what_an_agent_says_is_carried() -> None:
    def said(**fields: object) -> Result:
        return Result(True, "agent", said=Said(**fields))  # type: ignore[arg-type]

    assert combine([[PASS], [said(percent=50)]]).percent == 50
    assert combine([[said(percent=50)], [said(percent=20)]]).percent == 20
    assert combine([[PASS], [said(drain=True)]]).drain
    down = combine([[PASS], [said(maintenance=True)]], needed=1)
    assert (down.up, down.cause, down.drain) == (False, "its agent says maintenance", True)
