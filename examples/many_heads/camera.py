"""At the camera: one pass a photo, an answer from every head; and a label that is taught there from a few photos.

python camera.py camera.bundle photos/
python camera.py camera.bundle photos/ --head what --teach battery batteries/
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgetransfer.errors import EdgetransferError
from edgetransfer.runtime import Personalizer, Predictor

PHOTOS = (".jpg", ".jpeg", ".png")


def photos_in(folder: Path) -> list[Path]:
    """Return the photos of a folder by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOS)


def main() -> int:
    """Teach, if asked to, then answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--head", help="which head to teach")
    parser.add_argument("--teach", nargs=2, metavar=("LABEL", "FOLDER"))
    args = parser.parse_args()
    try:
        with Predictor.load(args.bundle) as predictor:
            if args.teach:
                label, folder = args.teach
                print(Personalizer(predictor, args.head).teach(label, photos_in(Path(folder))).as_text())
            for photo in photos_in(args.photos):
                features = predictor.embed(photo)  # the backbone computes once
                found = predictor.answers(features)
                answers = found.items() if len(predictor.heads) > 1 else [(predictor.heads[0].name, found)]
                said = ", ".join(f"{name} {result.label} {result.score:.2f}" for name, result in answers)
                print(f"{photo.name}: {said}")
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
