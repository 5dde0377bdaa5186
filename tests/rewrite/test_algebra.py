"""The operations on linear forms alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgevision.rewrite.reparam.adding import add
from edgevision.rewrite.reparam.composing import compose
from edgevision.rewrite.reparam.linear_form import Inexact, LinearForm, constant, identity, regrouped
from edgevision.rewrite.reparam.shrinking import cropped, trimmed


def window(kernel: int = 3, pad: int = 1, *, stride: int = 1, channels: int = 2, dilation: int = 1) -> LinearForm:
    weight = np.random.default_rng(0).standard_normal((channels, channels, kernel))
    return LinearForm(inputs=channels, outputs=channels, group=1, kernel=(kernel,), stride=(stride,), begin=(pad,),
                      end=(pad,), dilation=(dilation,), weight=constant(weight))  # fmt: skip


def test_a_map_passes_pointwise_forms_only() -> None:
    mapped = replace(window(), bias=constant(np.ones((2, 7))), bias_extents=(7,))
    outcome = compose(window(2, 0), mapped, (7,))
    assert isinstance(outcome, Inexact)
    assert "varies over space" in outcome.reason
    passed = compose(window(1, 0), mapped, (7,))
    assert isinstance(passed, LinearForm)
    assert passed.bias_extents == (7,)


def test_an_identity_changes_nothing() -> None:
    form = window()
    assert compose(identity(2, 1), form, (None,)) is form
    assert compose(form, identity(2, 1), (None,)) is form


def test_strides_multiply_and_padding_scales() -> None:
    both = compose(window(3, 0, stride=2), window(3, 1, stride=3), (40,))
    assert isinstance(both, LinearForm)
    assert (both.stride, both.begin, both.end, both.kernel) == ((6,), (1,), (1,), (9,))


def test_taps_keep_the_widest_common_step() -> None:
    both = compose(window(3, 0, dilation=4), window(3, 4, dilation=2), (40,))
    assert isinstance(both, LinearForm)
    assert (both.kernel, both.dilation) == ((7,), (2,))


@pytest.mark.parametrize(("extent", "merges"), [(8, True), (7, False), (None, False)])
def test_windows_of_other_slack_agree_on_some_extents(extent: int | None, merges: bool) -> None:
    outcome = add(window(3, 1, stride=2), window(2, 0, stride=2), (extent,))
    assert isinstance(outcome, LinearForm) is merges


def test_strides_have_to_agree() -> None:
    outcome = add(window(3, 1, stride=2), window(3, 1), (1,))
    assert isinstance(outcome, Inexact)
    assert "strides" in outcome.reason


@pytest.mark.parametrize(
    ("kernel", "pad", "extent", "left"),
    [(51, 25, 14, 27), (27, 13, 14, 27), (29, 14, 14, 27), (13, 6, 7, 13), (5, 2, 1, 1), (51, 25, 26, 51)],
)
def test_a_kernel_is_cropped_to_twice_the_extent_less_one(kernel: int, pad: int, extent: int, left: int) -> None:
    form = cropped(window(kernel, pad), (extent,))
    assert form.kernel == (left,)
    assert form.applied_to((extent,)) == (extent,)


def test_a_kernel_stays_where_the_extent_is_open() -> None:
    form = window(51, 25)
    assert cropped(form, (None,)) is form


def test_with_dilation_taps_are_cut() -> None:
    form = cropped(window(7, 9, dilation=3), (6,))
    assert (form.kernel, form.begin, form.end) == ((3,), (3,), (3,))


def test_zero_taps_are_trimmed_from_the_rim_while_padding_lasts() -> None:
    weight = np.zeros((2, 2, 7))
    weight[:, :, 4] = 1.0
    form = trimmed(replace(window(7, 3), weight=constant(weight)))
    assert (form.kernel, form.begin, form.end) == ((2,), (0,), (1,)) or form.kernel == (2,)
    assert form.applied_to((9,)) == (9,)
    unpadded = trimmed(replace(window(7, 0), weight=constant(weight)))
    assert unpadded.kernel == (7,)


def test_a_kernel_of_zeros_is_left_to_others() -> None:
    form = replace(window(3, 1), weight=constant(np.zeros((2, 2, 3))))
    assert trimmed(form).kernel == (3,)


def test_fewer_groups_are_a_block_diagonal() -> None:
    weight = np.arange(1.0, 9.0).reshape(4, 2, 1)
    whole = regrouped(weight, 2, 1)[:, :, 0]
    assert whole.tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]


def transposed(kernel: int = 5, pad: int = 4) -> LinearForm:
    weight = np.zeros((2, 2, kernel))
    weight[:, :, kernel // 2] = 1.0
    return replace(window(kernel, pad, stride=2), weight=constant(weight), output_padding=(0,))


def test_transposed_kernels_are_neither_cropped_nor_trimmed() -> None:
    form = transposed()
    assert cropped(form, (3,)) is form
    assert trimmed(form) is form


def test_a_window_that_never_reads_the_input_is_left_alone() -> None:
    form = replace(window(1, 0, stride=2), begin=(1,), end=(1,))
    assert cropped(form, (1,)) is form


@pytest.mark.parametrize(("begin", "end"), [(9, 0), (0, 9)])
def test_one_end_is_cropped_alone(begin: int, end: int) -> None:
    form = cropped(replace(window(7, 0), begin=(begin,), end=(end,)), (4,))
    assert form.kernel[0] < 7
    assert form.applied_to((4,)) == (7,)


def test_maps_survive_addition_and_composition() -> None:
    mapped = replace(window(), bias=constant(np.ones((2, 7))), bias_extents=(7,))
    biased = replace(window(), bias=constant(np.ones(2)))
    for one, other in ((mapped, biased), (biased, mapped)):
        both = add(one, other, (7,))
        assert isinstance(both, LinearForm)
        assert both.bias_extents == (7,)
        assert both.bias is not None
        np.testing.assert_array_equal(both.bias(), np.full((2, 7), 2.0))
    outer = replace(window(3, 0), bias=constant(np.ones((2, 5))), bias_extents=(5,))
    chain = compose(outer, replace(window(), bias=constant(np.ones(2))), (7,))
    assert isinstance(chain, LinearForm)
    assert chain.bias_extents == (5,)


def test_a_map_does_not_go_into_a_transposed_convolution() -> None:
    mapped = replace(window(1, 0), group=2, weight=constant(np.ones((2, 1, 1))), bias=constant(np.ones((2, 9))),
                     bias_extents=(9,))  # fmt: skip
    assert isinstance(compose(mapped, transposed(5, 0), (3,)), Inexact)


def test_a_transposed_form_makes_extents_larger() -> None:
    """(n - 1) * stride - begin - end + span + output_padding, as ONNX has it."""
    form = replace(transposed(5, 1), output_padding=(1,))
    assert form.applied_to((4,)) == ((4 - 1) * 2 - 2 + 5 + 1,)
    assert form.applied_to((None,)) == (None,)
