"""Makes thumbnails with Pillow: a job is a picture, its output the thumbnail, both as PNG in base64."""

import base64
import io

from hirelings_worker import serve
from PIL import Image


@serve
def run(job):
    image = Image.open(io.BytesIO(base64.b64decode(job["png"])))
    image.thumbnail((job["side"], job["side"]))
    made = io.BytesIO()
    image.save(made, "PNG")
    return {"png": made.getvalue(), "width": image.width, "height": image.height}
