"""Tensors as arrays, and back."""

import pytest
import torch
from optim_client.torch._arrays import DTYPES, to_array, to_tensor


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 3)])
def test_a_tensor_comes_back_to_the_bit(dtype: str, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape).to(DTYPES[dtype])
    array = to_array(tensor)
    assert (array.dtype.name, array.shape) == (dtype, shape)
    back = to_tensor(array)
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)


def test_a_transposed_tensor_keeps_its_elements() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(to_tensor(to_array(tensor)), tensor)


def test_a_tensor_that_was_made_is_not_the_arrays_memory() -> None:
    array = to_array(torch.ones(3))
    to_tensor(array).zero_()
    assert array.tolist() == [1, 1, 1]
