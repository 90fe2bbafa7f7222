"""What data tell about themselves before anything is built."""

from PIL import Image

from visionattn.data.facts import sampled_size, typical_size


def test_a_typical_size_is_the_median_of_headers_that_can_be_read(tmp_path):
    for index, size in enumerate([(40, 20), (50, 30), (500, 300)]):
        Image.new("L", size).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    files = sorted(tmp_path.iterdir())
    assert sampled_size(files) == (30, 50)  # height, width
    assert sampled_size(files, most=1) == (20, 40)
    assert sampled_size(files[3:]) is None
    assert typical_size([]) is None
