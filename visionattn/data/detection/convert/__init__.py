"""Conversion of boxes and polygons between the formats of COCO, YOLO and Pascal VOC."""
