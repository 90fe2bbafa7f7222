"""What a model sees: attention maps, receptive fields, rollout, relevance, statistics of heads, position tables.

    maps = analysis.attention_maps(model, image, [(0.5, 0.5)])   # exact probabilities of every stage, block and head
    field = analysis.receptive_field(model, image, stage=3)      # the pixels that can reach a token, and those that do
    flow = analysis.rollout(model, image)
    why = analysis.relevance(task, image)

An image is a normalized tensor ``(C, H, W)`` or ``(1, C, H, W)``; a model is a backbone of visionattn, or a task
around one. Attention shows where information can flow, not why a model decides as it does: Jain and Wallace 2019,
*Attention is not Explanation*, arXiv 1902.10186.
"""

from visionattn.lazy import face

__all__ = [
    "AttentionMap",
    "Field",
    "Flow",
    "HeadStatistics",
    "PositionTable",
    "Recording",
    "attention_maps",
    "bias_tables",
    "head_statistics",
    "receptive_field",
    "record",
    "recording",
    "relevance",
    "rollout",
]

_HOMES = {
    "AttentionMap": "maps",
    "Field": "field",
    "Flow": "rollouts",
    "HeadStatistics": "heads",
    "PositionTable": "tables",
    "Recording": "trace",
    "attention_maps": "maps",
    "bias_tables": "tables",
    "head_statistics": "heads",
    "receptive_field": "field",
    "record": "trace",
    "recording": "trace",
    "relevance": "relevances",
    "rollout": "rollouts",
}

__getattr__ = face(__name__, _HOMES)
