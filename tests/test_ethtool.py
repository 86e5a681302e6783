"""What drivers say, where they do, of a veth; and of what is none."""

from __future__ import annotations

import pytest

from tools.lab.net import Lab
from xdplb import ethtool


@pytest.mark.root
def test_a_veth_tells_its_offloads_queues_and_counters(lab: Lab) -> None:
    with lab.inside("lb"):
        features, channels = ethtool.read_features("eth0"), ethtool.read_channels("eth0")
        assert features
        assert "tx-checksum-ip-generic" in features
        assert channels
        assert channels["rx_count"] == 2
        assert ethtool.read_ring("eth0") is None  # it has none
        assert any("xdp_tx_errors" in name for name in ethtool.read_counters("eth0"))


def test_what_is_not_there_is_not_known() -> None:
    assert ethtool.read_features("nothing") is None
    assert ethtool.read_channels("nothing") is None
    assert ethtool.read_ring("nothing") is None
    assert ethtool.read_counters("nothing") == {}
