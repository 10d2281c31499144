"""What a base64 image is, by its whole structure; no pixel is decoded."""

from gateway.domain.images.base64_text import NotBase64, decoded
from gateway.domain.images.checking import ImageHeader, checked_image, header_of, image_bytes, may_be_image

__all__ = ["ImageHeader", "NotBase64", "checked_image", "decoded", "header_of", "image_bytes", "may_be_image"]
