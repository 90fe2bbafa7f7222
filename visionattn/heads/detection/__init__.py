"""Detectors: what stands on a backbone's maps and finds objects, with or without their masks."""

from visionattn.heads.detection.cascade import CascadeRCNN
from visionattn.heads.detection.dense import FCOSDetector, RetinaNetDetector
from visionattn.heads.detection.detector import Detections, Detector, Targets
from visionattn.heads.detection.proposals import ProposalNetwork
from visionattn.heads.detection.pyramid import Pyramid
from visionattn.heads.detection.rcnn import RCNN
from visionattn.heads.detection.regions import RegionHeads

__all__ = [
    "RCNN",
    "CascadeRCNN",
    "Detections",
    "Detector",
    "FCOSDetector",
    "ProposalNetwork",
    "Pyramid",
    "RegionHeads",
    "RetinaNetDetector",
    "Targets",
]
