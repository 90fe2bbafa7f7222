import pytest

from visionattn.data.fixed_split import fixed_split
from visionattn.errors import ConfigError


@pytest.mark.parametrize("name", [f"images/{i}.jpg" for i in range(20)])
def test_a_single_sample_is_for_training(name):
    assert fixed_split([name]).tolist() == [False]


@pytest.mark.parametrize("start", range(20))
def test_of_two_samples_one_is_held_out(start):
    assert sorted(fixed_split([f"{start}.jpg", f"{start + 1}.jpg"], 0.01).tolist()) == [False, True]
    assert sorted(fixed_split([f"{start}.jpg", f"{start + 1}.jpg"], 0.99).tolist()) == [False, True]


def test_new_samples_move_no_old_one():
    names = [f"{i}.jpg" for i in range(400)]
    held = fixed_split(names)
    assert fixed_split(names[::-1]).tolist() == held[::-1].tolist()
    assert fixed_split(names + [f"new/{i}.jpg" for i in range(100)])[:400].tolist() == held.tolist()
    assert 0.14 < held.mean() < 0.26


def test_no_samples_and_no_share():
    assert fixed_split([]).tolist() == []
    for share in (0, 1, -0.1):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            fixed_split(["a.jpg"], share)
