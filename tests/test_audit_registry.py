"""The audits over the registry: every variant passes what an untrained network can be asked, every control is caught by name."""

from __future__ import annotations

import functools

import pytest
import torch

from nnn_bench.audit.static import audit_fresh
from nnn_bench.models.build import build
from tests.models import CONTROLS, HONEST, solved

CONTEXT = 32
VOCABULARY = 29

#: Control -> the tests that must name its defects. Its other tests may go either way.
CAUGHT_BY = {
    "conv_attention_published": {"future_tokens", "future_gradient"},
    "node_cascade_published": {"future_tokens", "batch_rows", "step", "gradient"},
    "progressive_untying_published": {"gradient", "modes"},
}


@functools.cache
def findings(name):
    torch.manual_seed(0)
    model = build(solved(name).model, vocabulary=VOCABULARY, context=CONTEXT, file=name)
    return {finding.test: finding for finding in audit_fresh(model)}


@pytest.mark.parametrize("name", HONEST)
def test_every_variant_passes(name):
    assert [finding.saw for finding in findings(name).values() if finding.passed is False] == []
    assert {test for test, finding in findings(name).items() if finding.passed} >= {
        *("future_tokens", "future_gradient", "past_coverage", "batch_rows", "modes", "gradient"),
    }


def test_every_control_has_a_test_that_must_name_it():
    assert CAUGHT_BY.keys() == set(CONTROLS)


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_is_caught_by_the_test_that_names_its_defect(name):
    failed = {test for test, finding in findings(name).items() if finding.passed is False}
    assert failed >= CAUGHT_BY[name]


def test_what_an_audit_saw_of_the_published_convolution_attention():
    seen = findings("conv_attention_published")["future_gradient"]
    # position t may see up to t + 15: of 32 positions the first 16 must not see (17 - 1) + ... + 1 = 136 later ones; all are seen
    assert (seen.numbers["leaks"], seen.numbers["pairs"]) == (136, 136)
