"""Other projects' checkpoints: recognized by their names, converted, every entry accounted for."""

import pytest
import torch

import visionattn
from tests.recorded import published_state, recorded
from visionattn.errors import CheckpointError
from visionattn.weights import formats, load_weights, resize_table
from visionattn.weights.formats import Format, Rule


def test_every_format_is_found_and_has_its_own_title():
    titles = [entry.title for entry in formats.all_formats()]
    assert len(titles) == len(set(titles)) >= 4
    assert {"Swin Transformer (official)", "Swin Transformer (timm)", "NAT / DiNAT (official)"} <= set(titles)


@pytest.mark.parametrize("name", ["nat_mini", "dinat_tiny", "dinat_s_tiny"])
def test_one_format_recognizes_a_published_checkpoint(name):
    state = published_state(recorded(name))
    assert len([entry for entry in formats.all_formats() if entry.recognizes(state.keys())]) == 1


def fake_format(*rules):
    return Format("fake", lambda names: "fake" in names, [Rule(r"fake", None), *rules])


def test_an_unknown_name_and_a_doubled_name(monkeypatch):
    monkeypatch.setattr(formats, "all_formats", lambda: (fake_format(Rule(r"[ab]", "c")),))
    one = torch.zeros(1)
    converted = formats.convert({"fake": one, "a": one, "x": one}, {})
    assert (converted.unknown, list(converted.state), converted.origin) == (["x"], ["c"], {"c": "a"})
    with pytest.raises(CheckpointError, match="b and a of the checkpoint both are c"):
        formats.convert({"fake": one, "a": one, "b": one}, {})


def test_two_formats_that_claim_one_checkpoint_are_an_error(monkeypatch):
    monkeypatch.setattr(formats, "all_formats", lambda: (fake_format(), fake_format()))
    with pytest.raises(CheckpointError, match="several formats: fake, fake"):
        formats.convert({"fake": torch.zeros(1)}, {})


def test_flat_table_by_query_minus_key():
    window_h, window_w = 2, 3
    table = torch.arange(3 * 5 * 2.0).view(15, 2)  # entry of query minus key (dy, dx): (dy + 1) * 5 + dx + 2
    ours = formats.flat_table()(table, torch.zeros(2, 3, 5))
    for dy in range(-1, 2):
        for dx in range(-2, 3):
            key_minus_query = ours[:, -dy + window_h - 1, -dx + window_w - 1]
            assert torch.equal(key_minus_query, table[(dy + 1) * 5 + dx + 2])
    assert torch.equal(formats.flat_table(query_minus_key=False)(table, torch.zeros(2, 3, 5)).flip(1, 2), ours)


def test_flat_table_of_another_window_is_square_or_refused():
    assert formats.flat_table()(torch.zeros(49, 2), torch.zeros(2, 3, 5)).shape == (2, 7, 7)
    with pytest.raises(CheckpointError, match=r"\(15, 2\) is neither square"):
        formats.flat_table()(torch.zeros(15, 2), torch.zeros(2, 7, 7))


def test_resized_tables_keep_a_plane_and_their_own_size():
    rows = torch.linspace(-1, 1, 13).view(1, 13, 1).expand(2, 13, 13)
    assert resize_table(rows, (13, 13)) is rows
    larger = resize_table(rows, (23, 13))
    assert larger.shape == (2, 23, 13)
    torch.testing.assert_close(larger[:, 11], rows[:, 6], atol=1e-6, rtol=0)
    assert (larger.diff(dim=1)[:, 3:-3] > 0).all()
    assert resize_table(rows.bfloat16(), (7, 7)).dtype == torch.bfloat16


def test_everything_that_does_not_fit_is_listed_under_the_checkpoints_own_names():
    state = published_state(recorded("dinat_s_tiny"))
    model = visionattn.create_backbone("dinat_s_tiny", num_classes=7)
    extra = [f"layers.0.blocks.0.attn.surprise{i}" for i in range(40)]
    state |= {name: torch.zeros(1) for name in extra}
    state["layers.9.blocks.0.norm1.weight"] = state.pop("norm.weight")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as raised:
        load_weights(model, state)
    message, details = str(raised.value), raised.value.details
    assert message.startswith("44 entries of the checkpoint, read as DiNAT_s (official), do not fit")
    for part in [
        *(f"not in the model: {name}" for name in extra),
        "missing: norm.weight",
        "not in the model: layers.9.blocks.0.norm1.weight (which would be stages.9.blocks.0.norm1.weight)",
        "head.weight has shape (1000, 768), the model needs (7, 768)",
        "head.bias has shape (1000,), the model needs (7,)",
    ]:
        assert part in details
    assert "head.weight has shape (1000, 768), the model needs (7, 768)" in message
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
